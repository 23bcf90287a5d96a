"""Self-contained HTML twins of explorers: one file that opens from disk, asks for nothing and runs no kernel."""

import base64
import hashlib
import html
import io
import json

import numpy as np
from PIL import Image

# What the page may do: run the scripts that it was made with, known by their sha256, and show its own style and the
# pictures inside it. Whatever else might get into it runs nothing, and no address is asked, not even its own folder.
POLICY = ("default-src 'none'; script-src {scripts}; style-src 'unsafe-inline'; img-src data: blob:; base-uri 'none'; "
          "form-action 'none'")
EVALUATE = ("'unsafe-eval'",)
STYLE = """body{font:15px/1.45 system-ui,sans-serif;margin:1.2em;color:#222;background:#fff}
h1{font-size:1.3em;margin:0 0 .4em}select,input,button{font:inherit}figure{margin:0}
img,canvas{image-rendering:pixelated}"""


def page(title, body, data, script, plotly=False):
    """One HTML document.

    Args:
        title: plain text, escaped here.
        body: HTML of the page; whatever text it holds must be escaped by its maker.
        data: anything JSON can hold; the script finds it as ``DATA``.
        script: JavaScript run after the page is built; texts of ``DATA`` go in by ``textContent``, never as HTML.
        plotly: whether the script needs plotly.js, which adds about 5 MB; its WebGL scatter compiles its own drawing
            code, so such a page is also allowed to evaluate text as code.
    Returns:
        the document as text.
    """
    own = f"const DATA = {literal(data)};\n{script}"
    scripts = [_plotly(), own] if plotly else [own]
    name, policy = html.escape(title), POLICY.format(scripts=" ".join([*map(_hash, scripts), *EVALUATE * plotly]))
    library = f"<script>{scripts[0]}</script>" if plotly else ""
    return (f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{name}</title>'
            f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
            f'<meta name="viewport" content="width=device-width"><style>{STYLE}</style>{library}</head>'
            f"<body><h1>{name}</h1>{body}<script>{own}</script></body></html>\n")


def _hash(script):
    """How a page's policy names a script that may run."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"


def literal(data):
    """``data`` as a JavaScript value that no text in it can end early."""
    text = json.dumps(data, allow_nan=False, ensure_ascii=True, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def sprite(pixels, columns=100, form="JPEG"):
    """All pictures in one, row by row, as a data address.

    Args:
        pixels: uint8 (N, H, W, 3), N at least 1.
        columns: pictures in a row.
        form: "JPEG", or "WEBP": a third smaller, but at most 16,383 pixels a side.
    Returns:
        the address of a picture of ``columns * W`` by ``ceil(N / columns) * H`` pixels.
    """
    count, height, width, _ = pixels.shape
    rows = -(-count // columns)
    sheet = np.zeros((rows, columns, height, width, 3), np.uint8)
    sheet.reshape(-1, height, width, 3)[:count] = pixels
    sheet = sheet.transpose(0, 2, 1, 3, 4).reshape(rows * height, columns * width, 3)
    buffer = io.BytesIO()
    how = {"quality": 85, "subsampling": 0} if form == "JPEG" else {"quality": 80, "method": 2}
    Image.fromarray(sheet).save(buffer, form, **how)
    return f"data:image/{form.lower()};base64,{base64.b64encode(buffer.getvalue()).decode()}"


def png(pixels):
    """One picture, uint8 (H, W, 3), as a data address without loss."""
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(buffer, "PNG")
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _plotly():
    """plotly.js with the line ends that a browser hashes."""
    from plotly.offline import get_plotlyjs
    return get_plotlyjs().replace("\r\n", "\n").replace("\r", "\n")
