"""Where the weights of ViSiL, DnS and S2VS are published, and which files a model needs.

The addresses are those in the projects' own code. Some hosts come and go, so every file can also
be put into place by hand.
"""

from __future__ import annotations

from dataclasses import dataclass

_VISIL = "http://ndd.iti.gr/visil"
_DNS = "https://mever.iti.gr/distill-and-select/models"
_S2VS = "https://mever.iti.gr/s2vs/weights"
_BY_AUTHOR = (
    "the author's copy of the PyTorch weights: "
    "https://drive.google.com/file/d/1_PymekVfKf1pTlTG-7j3uLwTRv_94XzJ"
)


@dataclass(frozen=True)
class PublishedFile:
    """A file with weights.

    Attributes:
        name: of the file.
        addresses: where it is published, the first one first.
        by_hand: another place, which a browser is needed for; may be empty.
        digest_start: first digits of its SHA-256 (hex), where the publisher gives them.
    """

    name: str
    addresses: tuple[str, ...]
    by_hand: str = ""
    digest_start: str = ""


_RESNET = PublishedFile(
    "resnet50-0676ba61.pth",
    ("https://download.pytorch.org/models/resnet50-0676ba61.pth",),
    "any copy of torchvision's ResNet-50 of IMAGENET1K_V1, also resnet50-19c8e357.pth",
    "0676ba61",  # torchvision puts them into the name
)
_PCA = PublishedFile(
    "pca_resnet50_vcdb_1M.pth", (f"{_VISIL}/pca_resnet50_vcdb_1M.pth",), _BY_AUTHOR
)
EXTRACTOR = (_RESNET, _PCA)


def _head(base: str, name: str, by_hand: str = "") -> PublishedFile:
    return PublishedFile(f"{name}.pth", (f"{base}/{name}.pth",), by_hand)


HEADS: dict[str, PublishedFile] = {
    "visil": _head(_VISIL, "visil", _BY_AUTHOR),
    "visil_symmetric": _head(_VISIL, "visil_symmetric", _BY_AUTHOR),
    **{
        name: _head(_DNS, name)
        for name in (
            "dns_fg_att_student",
            "dns_fg_bin_student",
            "dns_cg_student",
            "dns_selector_cg-fg_att",
            "dns_selector_cg-fg_bin",
        )
    },
    "s2vs_dns": _head(_S2VS, "s2vs_dns"),
    "s2vs_vcdb": _head(_S2VS, "s2vs_vcdb"),
}


def files_of(model: str, head_alone: bool = False) -> tuple[PublishedFile, ...]:
    """The files that a model is made of.

    Args:
        model: a key of `HEADS`, or "extractor" for backbone and PCA.
        head_alone: without backbone and PCA.

    Raises:
        KeyError: there is no such model.
    """
    head = () if model == "extractor" else (HEADS[model],)
    return head if head_alone and head else (*head, *EXTRACTOR)
