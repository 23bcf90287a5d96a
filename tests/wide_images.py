"""Writes PNGs and TIFFs that Pillow reads and cannot write: colours of 16 bits, and any tag ExtraSamples."""

import struct
import zlib

import numpy as np


def png(path, values):
    """uint16 (H, W, bands): grey, grey and alpha, RGB or RGBA; rows filtered by their left neighbours."""
    height, width, bands = values.shape
    rows = values.astype(">u2").reshape(height, -1).view(np.uint8).astype(int)
    left = np.zeros_like(rows)
    left[:, 2 * bands:] = rows[:, :-2 * bands]
    content = b"".join(b"\1" + row.tobytes() for row in (rows - left).astype(np.uint8))
    head = struct.pack(">IIBBBBB", width, height, 16, {1: 0, 2: 4, 3: 2, 4: 6}[bands], 0, 0, 0)
    chunks = ((b"IHDR", head), (b"IDAT", zlib.compress(content)), (b"IEND", b""))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        for name, body in chunks))


def tiff(path, values, extra=None, deflated=False):
    """uint8 or uint16 (H, W, bands), RGB with what is more; ``extra`` is the tag ExtraSamples, None for no tag."""
    height, width, bands = values.shape
    content = values.astype(values.dtype.newbyteorder("<")).tobytes()
    content = zlib.compress(content) if deflated else content
    tags = {256: [width], 257: [height], 258: [8 * values.itemsize] * bands, 259: [8 if deflated else 1], 262: [2],
            273: [0], 277: [bands], 278: [height], 279: [len(content)], 284: [1]}
    tags |= {} if extra is None else {338: [extra]}
    far = {tag: struct.pack(f"<{len(found)}I", *found) for tag, found in tags.items() if len(found) > 1}
    start = 8 + 2 + 12 * len(tags) + 4
    entries, place = b"", start
    tags[273] = [start + sum(map(len, far.values()))]
    for tag, found in sorted(tags.items()):
        entries += struct.pack("<HHII", tag, 4, len(found), place if tag in far else found[0])
        place += len(far.get(tag, b""))
    path.write_bytes(b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4) + b"".join(
        far[tag] for tag in sorted(far)) + content)
