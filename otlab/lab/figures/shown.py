"""A still figure as a page shows it: picture, caption, alternative text."""

import base64
import html
import io

import matplotlib.pyplot as plt


class Figure:
    """A still picture with its caption and alternative text, as HTML and as PNG."""

    def __init__(self, png: bytes, alt: str, caption: str, width: int):
        self.png, self.alt, self.caption, self.width = png, alt, caption, width

    def html(self) -> str:
        """A <figure> with picture, alternative text and caption."""
        data = base64.b64encode(self.png).decode()
        return (f'<figure class="otlab-figure"><img src="data:image/png;base64,{data}" '
                f'alt="{html.escape(self.alt, quote=True)}" width="{self.width}">'
                f"<figcaption>{html.escape(self.caption)}</figcaption></figure>")

    def _repr_mimebundle_(self, include=None, exclude=None):
        return {"text/html": self.html(), "text/plain": f"{self.caption} [{self.alt}]"}


def show(fig, *, alt: str, caption: str) -> Figure:
    """End a cell with this: the figure, its caption (the finding) and alt text, then close it.

    Raises:
        ValueError: when the caption or the alternative text is missing.
    """
    require_sentence("alt", alt)
    require_sentence("caption", caption)
    buffer = io.BytesIO()
    width = round(fig.get_figwidth() * fig.dpi)
    fig.savefig(buffer, format="png", dpi=fig.dpi * 1.6, pil_kwargs={"optimize": True})
    plt.close(fig)
    return Figure(_indexed(buffer.getvalue()), alt, caption, width)


def require_sentence(name: str, text: str) -> None:
    """Raise ValueError unless `text`, the argument called `name`, has the words of a sentence."""
    if len(text.split()) < 4:
        raise ValueError(f"{name} must be a sentence; got {text!r}. The caption states the "
                         "finding, alt says what the picture shows.")


def _indexed(png: bytes) -> bytes:
    """The same picture with 256 colours: a third of the bytes, for light pages."""
    from PIL import Image

    image = Image.open(io.BytesIO(png)).convert("RGB")
    out = io.BytesIO()
    image.quantize(256, dither=Image.Dither.NONE).save(out, "PNG", optimize=True)
    return min(out.getvalue(), png, key=len)
