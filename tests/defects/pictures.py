"""Defects of pictures: what the model is shown is not what the client sent."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Callable
from typing import Any

import requests
from PIL import Image, ImageOps

from tests.defects.messages import Request, Response, error, is_picture
from tests.defects.planting import Planted, asked

Change = Callable[[Image.Image], Image.Image]
WHITE = (255, 255, 255)


def opened(part: dict[str, Any]) -> Image.Image | None:
    """The picture in a part's data URL; None where that holds none."""
    url = part["image_url"]["url"]
    if url[:5].lower() != "data:":
        return None
    try:
        image = Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2])))
        image.load()
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None
    return image


def data_url(image: Image.Image, form: str = "PNG", **settings: Any) -> str:
    """A picture as a data URL."""
    file = io.BytesIO()
    image.save(file, form, **settings)
    kind = f"data:image/{form.lower()};base64,"
    return kind + base64.b64encode(file.getvalue()).decode()


def show(request: Request, change: Callable[[Image.Image], Image.Image | None]) -> None:
    """Put what ``change`` makes of each picture in its place; None leaves it as it is."""
    for part in request.pictures:
        image = opened(part)
        other = None if image is None else change(image)
        if other is not None:
            part["image_url"]["url"] = data_url(other)


def upside_down(image: Image.Image) -> Image.Image:
    """A picture turned by 180 degrees, in plain RGB."""
    return ImageOps.exif_transpose(image).convert("RGB").rotate(180)


def remove(request: Request, unwanted: Callable[[dict[str, Any]], bool]) -> None:
    """Take parts out of their messages."""
    for message in request.messages:
        if isinstance(message.get("content"), list):
            message["content"] = [it for it in message["content"] if not unwanted(it)]


def rearrange(request: Request, order: Callable[[list[Any]], list[Any]]) -> None:
    """Put the pictures of a request into each other's places."""
    pictures = request.pictures
    copies = [dict(part) for part in pictures]
    for part, other in zip(pictures, order(copies), strict=True):
        part.clear()
        part.update(other)


def _every(name: str, summary: str, change: Change, *expected: str) -> None:
    @asked(name, summary, *expected)
    def _(_: Planted, request: Request) -> None:
        show(request, change)


def _some(
    name: str, summary: str, whose: Callable[[Image.Image], Any], change: Change, *expected: str
) -> None:
    @asked(name, summary, *expected)
    def _(_: Planted, request: Request) -> None:
        show(request, lambda image: change(image) if whose(image) else None)


_every(
    "pictures-mirrored",
    "sees pictures mirrored",
    lambda it: ImageOps.mirror(ImageOps.exif_transpose(it).convert("RGB")),
    "SRV-006",
)
_every(
    "pictures-turned",
    "sees pictures turned by a quarter",
    lambda it: it.convert("RGB").transpose(Image.Transpose.ROTATE_90),
    "SRV-006",
)
_every("pictures-grey", "sees no colours", lambda it: it.convert("L"), "SRV-006", "SRV-009")
_every(
    "pictures-negative",
    "sees pictures in inverted colours",
    lambda it: ImageOps.invert(it.convert("RGB")),
    "SRV-006",
)
_every(
    "red-for-blue",
    "reads the channels as BGR",
    lambda it: Image.merge("RGB", it.convert("RGB").split()[::-1]),
    "SRV-006",
    "CON-006",
)
_every(
    "pictures-enlarged",
    "enlarges every picture by one block",
    lambda it: it.convert("RGB").resize((it.width + 32, it.height + 32)),
    "IMG-001",
    "IMG-002",
)
_every(
    "pictures-coarse",
    "shrinks pictures to a quarter and back",
    lambda it: (
        it.convert("RGB").resize((max(1, it.width // 12), max(1, it.height // 12))).resize(it.size)
    ),
    "SRV-006",
)
_every(
    "pictures-cropped",
    "sees the middle of each picture only",
    lambda it: (
        it.convert("RGB")
        .crop((it.width * 3 // 10, it.height * 3 // 10, it.width, it.height))
        .resize(it.size)
    ),
    "GRD-001",
)
_some(
    "long-pictures-squeezed",
    "makes long pictures square, with a margin",
    lambda it: max(it.size) > 1.45 * min(it.size),
    lambda it: ImageOps.pad(it.convert("RGB"), (max(it.size),) * 2, color=WHITE, centering=(0, 0)),
    "GRD-002",
    "IMG-002",
)
_some(
    "long-pictures-turned",
    "exchanges width and height of long pictures",
    lambda it: max(it.size) > 1.45 * min(it.size),
    lambda it: it.convert("RGB").transpose(Image.Transpose.TRANSPOSE),
    "GRD-002",
)
_some(
    "large-pictures-reduced",
    "halves pictures beyond 1.1 megapixels",
    lambda it: it.width * it.height > 1_100_000 and max(it.size) < 13_000,
    lambda it: it.convert("RGB").resize((it.width // 2, it.height // 2)),
    "IMG-016",
)
_some(
    "tiny-pictures-enlarged",
    "enlarges short sides to 28 pixels first",
    lambda it: min(it.size) < 28,
    lambda it: it.convert("RGB").resize((max(28, it.width), max(28, it.height))),
    "IMG-015",
)
_some(
    "alpha-dropped",
    "shows what lies beneath transparent pixels",
    lambda it: it.mode == "RGBA",
    lambda it: it.convert("RGB"),
    "PIC-016",
)
_some(
    "alpha-black",
    "paints transparent pixels black",
    lambda it: it.mode == "RGBA",
    lambda it: Image.alpha_composite(Image.new("RGBA", it.size, (0, 0, 0, 255)), it).convert("RGB"),
    "PIC-016",
)
_some(
    "opaque-alpha-turned",
    "turns pictures with an alpha channel",
    lambda it: it.mode == "RGBA" and it.getextrema()[3] == (255, 255),
    upside_down,
    "PIC-015",
)
_some(
    "palette-transparency-ignored",
    "ignores what a palette declares transparent",
    lambda it: it.mode == "P" and "transparency" in it.info,
    lambda it: _opaque(it),
    "PIC-017",
)
_some(
    "palette-as-grey",
    "shows a palette's indices as grey",
    lambda it: it.mode == "P" and it.format == "PNG" and "transparency" not in it.info,
    lambda it: Image.frombytes("L", it.size, it.tobytes()),
    "PIC-010",
)
_some(
    "exif-ignored",
    "ignores the EXIF orientation",
    lambda it: it.getexif(),
    lambda it: it.convert("RGB"),
    "PIC-018",
)
_some(
    "cmyk-as-rgb",
    "takes the inks of a CMYK JPEG for light",
    lambda it: it.mode == "CMYK",
    lambda it: Image.merge("RGB", it.split()[:3]),
    "PIC-014",
)
_some("grey-turned", "turns greyscale pictures", lambda it: it.mode == "L", upside_down, "PIC-011")
_some(
    "one-bit-turned",
    "turns pictures of one bit a pixel",
    lambda it: it.mode == "1",
    upside_down,
    "PIC-012",
)
_some(
    "interlaced-turned",
    "turns interlaced PNGs",
    lambda it: it.info.get("interlace") == 1,
    upside_down,
    "PIC-008",
)
_some(
    "baseline-jpeg-turned",
    "turns baseline JPEGs",
    lambda it: it.format == "JPEG" and not it.info.get("progressive") and it.mode == "RGB",
    upside_down,
    "PIC-001",
)
_some(
    "progressive-jpeg-turned",
    "turns progressive JPEGs",
    lambda it: it.info.get("progressive"),
    upside_down,
    "PIC-002",
)
_some("webp-turned", "turns WebP pictures", lambda it: it.format == "WEBP", upside_down, "PIC-003")
_some(
    "gif-turned",
    "turns GIFs",
    lambda it: it.format == "GIF" and it.n_frames == 1,
    upside_down,
    "PIC-004",
)
_some(
    "animation-turned",
    "turns the first frame of an animation",
    lambda it: it.format == "GIF" and it.n_frames > 1,
    upside_down,
    "PIC-005",
)
_some("bmp-turned", "turns BMPs", lambda it: it.format == "BMP", upside_down, "PIC-006")
_some("tiff-turned", "turns TIFFs", lambda it: it.format == "TIFF", upside_down, "PIC-007")


def _opaque(image: Image.Image) -> Image.Image:
    plain = image.copy()
    del plain.info["transparency"]
    return plain.convert("RGB")


@asked("deep-png-turned", "turns PNGs of 16 bits a channel", "PIC-013")
def _(_: Planted, request: Request) -> None:
    for part in request.pictures:
        data = base64.b64decode(
            part["image_url"]["url"].partition(",")[2][:64] + "==", validate=False
        )
        image = opened(part) if data[:4] == b"\x89PNG" and data[24] == 16 else None
        if image is not None:
            part["image_url"]["url"] = data_url(upside_down(image))


@asked(
    "pictures-swapped",
    "sees the pictures of a request in reverse order",
    "IMG-003",
    "IMG-012",
    "IMG-013",
)
def _(_: Planted, request: Request) -> None:
    rearrange(request, lambda them: them[::-1])


@asked("pictures-by-size", "orders the pictures of a request by their size", "IMG-012")
def _(_: Planted, request: Request) -> None:
    def size(part: dict[str, Any]) -> int:
        image = opened(part)
        return image.width * image.height if image else 0

    rearrange(request, lambda them: sorted(them, key=size))


@asked("pictures-by-format", "puts GIFs behind the other pictures", "PIC-009")
def _(_: Planted, request: Request) -> None:
    rearrange(
        request,
        lambda them: sorted(them, key=lambda it: "image/gif" in it["image_url"]["url"][:40]),
    )


@asked("fetched-pictures-reversed", "puts fetched pictures in reverse order", "PIC-033")
def _(_: Planted, request: Request) -> None:
    if any(it["image_url"]["url"].startswith("http") for it in request.pictures):
        rearrange(request, lambda them: them[::-1])


@asked("last-picture-dropped", "never sees the last of several pictures", "IMG-003", "IMG-005")
def _(_: Planted, request: Request) -> None:
    pictures = request.pictures
    if len(pictures) > 1:
        remove(request, lambda part: part is pictures[-1])


@asked(
    "first-picture-doubled",
    "shows the first picture twice where there are several",
    "IMG-005",
    "IMG-003",
)
def _(_: Planted, request: Request) -> None:
    pictures = request.pictures
    if len(pictures) > 1:
        pictures[1]["image_url"] = pictures[0]["image_url"]


@asked("pictures-merged", "shows equal pictures of a message once", "IMG-005", "IMG-011")
def _(_: Planted, request: Request) -> None:
    for message in request.messages:
        seen: list[Any] = []
        if isinstance(message.get("content"), list):
            for part in message["content"]:
                if not (isinstance(part, dict) and is_picture(part) and part in seen):
                    seen.append(part)
            message["content"] = seen


@asked("pictures-hoisted", "puts pictures before the texts of their message", "IMG-014")
def _(_: Planted, request: Request) -> None:
    for message in request.messages:
        if isinstance(message.get("content"), list):
            message["content"].sort(key=lambda it: not (isinstance(it, dict) and is_picture(it)))


@asked(
    "earlier-pictures-dropped",
    "forgets the pictures of earlier turns",
    "SRV-009",
    "IMG-006",
    "IMG-013",
    "IMG-017",
)
def _(_: Planted, request: Request) -> None:
    for message in request.messages[:-1]:
        if isinstance(message.get("content"), list):
            message["content"] = [it for it in message["content"] if not is_picture(it)]


@asked("first-picture-again", "shows the first turn's picture in every later turn", "IMG-013")
def _(_: Planted, request: Request) -> None:
    pictures = request.pictures
    if len([it for it in request.messages if it.get("role") == "user"]) > 1:
        for part in pictures[1:]:
            part["image_url"] = pictures[0]["image_url"]


@asked("other-roles-pictures-dropped", "drops pictures that no user sent", "IMG-009")
def _(_: Planted, request: Request) -> None:
    for message in request.messages:
        if message.get("role") != "user" and isinstance(message.get("content"), list):
            message["content"] = [it for it in message["content"] if not is_picture(it)]


def _reply(
    name: str, summary: str, whose: Callable[[str, Any], Any], status: int, *expected: str
) -> None:
    """A defect that answers requests of certain pictures, by URL and part, with an error."""

    @asked(name, summary, *expected)
    def _(_: Planted, request: Request) -> Response | None:
        wrong = any(whose(it["image_url"]["url"], it) for it in request.pictures)
        return error(status) if wrong else None


def _size(part: dict[str, Any]) -> tuple[int, int]:
    image = opened(part)
    return image.size if image else (64, 64)


def _stated_wrong(url: str, part: dict[str, Any]) -> bool:
    image = opened(part)
    return (
        image is not None and url[5:].partition(";")[0].lower() != f"image/{image.format}".lower()
    )


_reply(
    "tiny-pictures-fail",
    "fails on pictures of a few pixels",
    lambda _, it: max(_size(it)) < 56,
    500,
    "PIC-019",
    "IMG-015",
)
_reply(
    "ratio-200-refused",
    "refuses an aspect ratio of 200",
    lambda _, it: max(_size(it)) == 200 * min(_size(it)),
    400,
    "PIC-020",
    "IMG-015",
)
_reply(
    "beyond-ratio-fails",
    "fails on aspect ratios beyond 200",
    lambda _, it: max(_size(it)) > 200 * min(_size(it)),
    500,
    "PIC-021",
)
_reply(
    "media-type-believed",
    "refuses a data URL whose media type is wrong",
    _stated_wrong,
    400,
    "PIC-023",
)
_reply(
    "data-url-strict",
    "knows the plainest form of a data URL only",
    lambda url, _: not re.match(r"data:image/\w+;base64,|http", url),
    400,
    "PIC-024",
)
_reply(
    "low-detail-refused",
    "refuses detail low",
    lambda _, it: it["image_url"].get("detail") == "low",
    400,
    "PIC-027",
)
_reply("http-refused", "fetches no pictures", lambda url, _: url.startswith("http"), 400, "PIC-029")


@asked("auto-detail-turned", "turns pictures of detail auto", "PIC-027")
def _(_: Planted, request: Request) -> None:
    if any(it["image_url"].get("detail") == "auto" for it in request.pictures):
        show(request, upside_down)


@asked("base64-lines-lost", "shows nothing where base64 is broken into lines", "PIC-025")
def _(_: Planted, request: Request) -> None:
    for part in request.pictures:
        if "\r\n" in part["image_url"]["url"]:
            part["image_url"]["url"] = data_url(Image.new("RGB", (100, 60), WHITE))


@asked("textual-url-dropped", "drops pictures whose image_url is a text", "PIC-026")
def _(_: Planted, request: Request) -> None:
    remove(request, lambda it: isinstance(it, dict) and isinstance(it.get("image_url"), str))


@asked("unknown-uuid-dropped", "drops pictures of which it has nothing but a uuid", "PIC-028")
def _(_: Planted, request: Request) -> None:
    remove(request, lambda it: isinstance(it, dict) and "uuid" in it and not it.get("image_url"))


@asked("uuid-ignored", "shows the first picture that had a uuid for all that have", "PIC-028")
def _(planted: Planted, request: Request) -> None:
    for part in request.pictures:
        if part.get("uuid"):
            part["image_url"] = planted.kept.setdefault("first", part["image_url"])


def _fetch(url: str) -> requests.Response:
    session = requests.Session()
    session.trust_env = False
    return session.get(url, timeout=10)


@asked("content-type-believed", "refuses pictures that a host declares otherwise", "PIC-030")
def _(_: Planted, request: Request) -> Response | None:
    for part in request.pictures:
        url = part["image_url"]["url"]
        if "127.0.0.1" in url[:20] and not _fetch(url).headers["content-type"].startswith("image/"):
            return error(400)
    return None


@asked("query-dropped", "fetches a URL without its query", "PIC-031")
def _(_: Planted, request: Request) -> None:
    for part in request.pictures:
        if part["image_url"]["url"].startswith("http"):
            part["image_url"]["url"] = part["image_url"]["url"].partition("?")[0]


@asked("fetched-once", "fetches a URL once, and keeps what it got", "PIC-032")
def _(planted: Planted, request: Request) -> None:
    for part in request.pictures:
        url = part["image_url"]["url"]
        if url.startswith("http://127.0.0.1:") and url.endswith(".png"):
            if url not in planted.kept:
                found = _fetch(url)
                planted.kept[url] = (
                    "data:image/png;base64," + base64.b64encode(found.content).decode()
                )
            part["image_url"]["url"] = planted.kept[url]


@asked(
    "same-pixels-same-picture", "takes pictures of equal pixels for the same", "PIC-022", "CON-007"
)
def _(planted: Planted, request: Request) -> None:
    def first(image: Image.Image) -> Image.Image | None:
        if image.format != "PNG" or image.width * image.height < 2000:
            return None
        plain = image.convert("RGB")
        with planted.lock:
            kept: Image.Image = planted.kept.setdefault(plain.tobytes().hex(), plain)
        return kept

    show(request, first)


@asked(
    "pixels-settings-dropped",
    "ignores min_pixels and max_pixels of a request",
    "IMG-018",
    "CON-012",
)
def _(_: Planted, request: Request) -> None:
    request.document.pop("mm_processor_kwargs", None)


@asked("pixels-settings-stay", "applies a request's max_pixels to the next one too", "IMG-019")
def _(planted: Planted, request: Request) -> None:
    settings = request.document.get("mm_processor_kwargs")
    with planted.lock:
        if settings:
            planted.kept["settings"] = settings
        elif planted.kept.get("settings"):
            request.document["mm_processor_kwargs"] = planted.kept.pop("settings")


@asked(
    "pixels-settings-not-in-key",
    "processes a picture once, whatever resolution is asked for",
    "CON-012",
)
def _(planted: Planted, request: Request) -> None:
    for part in request.pictures:
        with planted.lock:
            settings = planted.kept.setdefault(
                part["image_url"]["url"], request.document.get("mm_processor_kwargs")
            )
        request.document["mm_processor_kwargs"] = settings
        if settings is None:
            del request.document["mm_processor_kwargs"]


@asked("frames-turned", "turns the frames of a clip", "VID-004")
def _(_: Planted, request: Request) -> None:
    for part, frames in _clips(request):
        turned = []
        for frame in frames:
            image = Image.open(io.BytesIO(base64.b64decode(frame)))
            turned.append(data_url(upside_down(image), "JPEG", quality=95).partition(",")[2])
        part["video_url"]["url"] = "data:video/jpeg;base64," + ",".join(turned)


@asked("frames-halved", "looks at four frames of a clip at most", "VID-005")
def _(_: Planted, request: Request) -> None:
    for part, frames in _clips(request):
        part["video_url"]["url"] = "data:video/jpeg;base64," + ",".join(frames[:4])


def _clips(request: Request) -> list[tuple[dict[str, Any], list[str]]]:
    found = []
    for part in request.parts:
        url = part.get("video_url")
        if isinstance(url, dict) and str(url.get("url")).startswith("data:video/jpeg;base64,"):
            found.append((part, url["url"].split(",")[1:]))
    return found
