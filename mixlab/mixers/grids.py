"""Boxes and masks on pixel and feature grids. Areas are exact: a cell half inside a box counts half."""

import torch


def span_around(centre, side, size, inside):
    """Where an interval of ``side`` pixels around ``centre`` starts and stops on an axis of ``size`` pixels.

    Args:
        centre, side: (M,) int64; the start is ``centre - side // 2``.
        size: pixels of the axis.
        inside: True moves the interval into the image, False clips it at the border.
    """
    start = centre - side // 2  # (M,)
    if inside:
        start = torch.minimum(start.clamp(min=0), size - side)
    return start.clamp(0, size), (start + side).clamp(0, size)


def box_mask(box, height, width):
    """(M,1,H,W) float32: 0 inside the boxes (M,4) = top, left, bottom, right, and 1 outside."""
    top, left, bottom, right = box[:, :, None].unbind(1)  # (M,1) each
    y, x = (torch.arange(n, device=box.device) for n in (height, width))
    rows, columns = (y >= top) & (y < bottom), (x >= left) & (x < right)  # (M,H), (M,W)
    return 1 - (rows[:, None, :, None] & columns[:, None, None, :]).float()


def cell_means(mask, height, width):
    """Means of ``mask`` (M,1,H,W) over the cells of a grid (height, width), any size: (M,1,height,width) float32.

    A pixel on the border of two cells counts in each by the area that it has there. Equal to mean pooling where the
    sizes divide. Overlaps are whole numbers in units of 1/cells pixels, so a cell wholly in a region gets exactly 0 or
    1; what is summed is the other image's part, so that 1 stays 1 however a device divides.
    """
    rows = _overlaps(height, mask.shape[-2], mask.device)  # (height,H)
    columns = _overlaps(width, mask.shape[-1], mask.device)  # (width,W)
    with torch.autocast(mask.device.type, enabled=False):
        other = rows @ (1 - mask) @ columns.T  # (M,1,height,width)
    return 1 - other / torch.full_like(other, mask.shape[-2] * mask.shape[-1])


def areas(mask):
    """(M,) float32: the mean of each mask (M,1,H,W), exact for masks of zeros and ones."""
    pixels = mask.sum((1, 2, 3))  # (M,)
    count = mask.shape[-2] * mask.shape[-1]
    return pixels / torch.full_like(pixels, count)  # by a tensor: CUDA multiplies by 1/number, which misses 1


def cells_within(grid, size):
    """Rows and columns of a grid of ``grid`` cells a side on an image of ``size`` = (H, W); none is without pixels."""
    return min(grid, size[0]), min(grid, size[1])


def spread(cells, height, width):
    """Cells (M,rows,columns) as pixels (M,1,height,width) float32: a pixel takes the cell that its middle lies in."""
    rows, columns = (torch.div((2 * torch.arange(size, device=cells.device) + 1) * count, 2 * size,
                               rounding_mode="floor")
                     for size, count in ((height, cells.shape[1]), (width, cells.shape[2])))
    return cells[:, rows[:, None], columns][:, None].float()


def pool(maps, height, width):
    """Means of maps (M,1,h,w) of any scale over the cells of a grid, by exact areas: (M,1,height,width) float32."""
    if tuple(maps.shape[-2:]) == (height, width):
        return maps.float()
    rows = _overlaps(height, maps.shape[-2], maps.device)  # (height,h)
    columns = _overlaps(width, maps.shape[-1], maps.device)  # (width,w)
    with torch.autocast(maps.device.type, enabled=False):
        return rows @ maps.float() @ columns.T / (maps.shape[-2] * maps.shape[-1])


def _overlaps(cells, size, device):
    """(cells,size) float32: length shared by cell i and pixel j, in units of 1/cells pixels; rows sum to ``size``."""
    i, j = torch.arange(cells, device=device)[:, None], torch.arange(size, device=device)  # (cells,1), (size,)
    stop, start = torch.minimum((i + 1) * size, (j + 1) * cells), torch.maximum(i * size, j * cells)
    return (stop - start).clamp(min=0).float()


def shrink(maps, box, size):
    """Each map (M,C,h,w) shrunk into its box (M,4) of an image of ``size`` = (H,W), and zero outside: (M,C,h,w).

    The map is read as a picture whose cells are constant squares. The shrunken picture is averaged over each cell, so a
    cell half inside the box holds half of what it shows there: at pixels this is resizing by area. float32 or wider.
    """
    top, left, bottom, right = box.to(maps.dtype).unbind(1)  # (M,) each
    rows = _shrink_axis(top, bottom, maps.shape[2], size[0])  # (M,h,h)
    columns = _shrink_axis(left, right, maps.shape[3], size[1])  # (M,w,w)
    with torch.autocast(maps.device.type, enabled=False):
        return torch.einsum("mij,mcjk,mlk->mcil", rows, maps, columns)


def _shrink_axis(start, stop, cells, size):
    """(M,cells,cells): weight of source cell j in target cell i; a row sums to the part of cell i in [start, stop)."""
    start, stop = start[:, None], stop[:, None]  # (M,1), pixels
    edges = torch.arange(cells + 1, device=start.device, dtype=start.dtype) * size / cells  # (cells+1,), pixels
    length = (stop - start).clamp(min=1)  # an empty interval has no weights whatever its length is taken to be
    inside = torch.minimum(edges.maximum(start), stop)  # (M,cells+1), pixels
    source = (inside - start) * cells / length  # (M,cells+1), source cells
    low, high = source[:, :-1, None], source[:, 1:, None]  # (M,cells,1)
    j = torch.arange(cells, device=start.device, dtype=start.dtype)  # (cells,)
    return (high.minimum(j + 1) - low.maximum(j)).clamp(min=0) * (length / size)[:, :, None]
