"""What all figures share: colours, fonts, labels shown as they are, and a figure as PNG bytes."""

import io
import unicodedata
from functools import cache
from itertools import accumulate

from matplotlib import font_manager, rcParams

# Okabe and Ito's colours: told apart by colour-blind readers.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#999999")
# Of classes: without the grey, and three more that keep their distance from all of them under every kind of colour
# blindness (CIELAB distance of any two at least 17 for normal, red-blind, green-blind and blue-blind sight).
PALETTE = (*COLOURS[:7], "#332288", "#DDCC77", "#882255")
# Fonts for Chinese, Japanese and Korean, of which most desktops have one: asked where a figure's own lacks a letter.
EAST_ASIAN = ("Noto Sans CJK SC", "Noto Sans CJK JP", "Noto Sans SC", "Noto Sans JP", "Noto Sans KR",
              "Source Han Sans SC", "Microsoft YaHei", "PingFang SC", "Hiragino Sans GB", "Hiragino Sans", "Yu Gothic",
              "Malgun Gothic", "Apple SD Gothic Neo", "Arial Unicode MS", "WenQuanYi Zen Hei", "WenQuanYi Micro Hei",
              "Droid Sans Fallback", "IPAexGothic", "NanumGothic")


def _add_fallbacks():
    """Matplotlib takes each letter from the first family of this list that has it."""
    installed, asked = set(font_manager.get_font_names()), rcParams["font.family"]
    rcParams["font.family"] = [*asked, *(name for name in EAST_ASIAN if name in installed and name not in asked)]


_add_fallbacks()


def verbatim(text):
    """``text`` as matplotlib shows it letter by letter: a ``$`` opens no formula.

    A letter that no font has is spelt by its number, ``\\u732b``, which is said once.
    """
    return "".join(map(_spelt, str(text)))


def short(name, most=24):
    """``verbatim(name)``, at most ``most`` letters wide, what is cut away replaced by ``…``: for names in a grid."""
    spelt = [_spelt(letter) for letter in str(name)]
    wide = [len(s) + (unicodedata.east_asian_width(s[0]) in "WF") for s in spelt]
    kept = sum(total < most for total in accumulate(wide))  # leaves room for the sign
    return "".join(spelt) if sum(wide) <= most else "".join(spelt[:kept]) + "…"


def _spelt(letter):
    if letter == "$":
        return r"\$"
    plain = letter == "\n" or (letter.isascii() and letter.isprintable())
    if plain or _is_known(letter, tuple(rcParams["font.family"])):
        return letter
    _say_spelling()
    return letter.encode("unicode_escape").decode()


@cache
def _is_known(letter, families):
    """Whether a font of these families has the letter."""
    paths = [font_manager.findfont(font_manager.FontProperties(family=[name])) for name in families]
    return any(ord(letter) in font_manager.get_font(path).get_charmap() for path in paths)


@cache
def _say_spelling():
    """Cached, so one line in a process, whatever there is to spell."""
    print("Note: a name has letters that no font here has; figures spell them by number, as \\u732b for the sign of a "
          "cat. Install a font that has them (Noto Sans CJK for Chinese, Japanese and Korean) and start again.")


def png(figure, dpi=80):
    """A figure as PNG bytes."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi)
    return buffer.getvalue()
