"""What each family calls its tensors, and one name for each of them.

Families: DINO (arXiv 2104.14294), DINOv2 (2304.07193, 2309.16588), DINOv3 (2508.10104), MAE (2111.06377), and the names
of torchvision, timm and Hugging Face's transformers (old files and present ones).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from torch import Tensor

from neuropil.errors import RunError, listed
from neuropil.models.checkpoints2d.convnext import convnext_family

#: The kernel of patches, by which the transformer is found within a file.
_ANCHORS = (
    "patch_embed.proj.weight",
    "conv_proj.weight",
    "embeddings.patch_embeddings.projection.weight",
    "embeddings.patch_embeddings.weight",
)
#: What may stand before the names of a whole model, best first where a file holds several.
_BEFORE = re.compile(
    r"(?:(?:module|_orig_mod|teacher|model|backbone|encoder|visual|trunk|vit|dinov2|dinov2_with_registers|dinov3_vit"
    r"|teacher_ema|student|ema)\.)*"
)
_TOP: tuple[tuple[str, str], ...] = (
    (r"(?:patch_embed\.proj|conv_proj|embeddings\.patch_embeddings(?:\.projection)?)\.(weight|bias)", r"patch.\1"),
    (r"cls_token|class_token|embeddings\.cls_token", "cls"),
    (r"register_tokens|reg_token|storage_tokens|embeddings\.register_tokens", "registers"),
    (r"pos_embed|encoder\.pos_embedding|embeddings\.position_embeddings", "table"),
    (r"rope_embed\.periods", "periods"),
    (r"(?:norm|encoder\.ln|layernorm)\.(weight|bias)", r"norm.\1"),
    (r"fc_norm\.(weight|bias)", r"pooled_norm.\1"),
)
_BLOCK = re.compile(
    r"(?:blocks\.(?:\d+\.)?(?P<a>\d+)|encoder\.layers\.encoder_layer_(?P<b>\d+)"
    r"|(?:model\.)?(?:encoder\.)?layers?\.(?P<c>\d+))\.(?P<rest>\D.*|mlp\.\d.*)"
)
_INNER: tuple[tuple[str, str], ...] = (
    (r"(?:norm1|ln_1|layernorm_before)\.(weight|bias)", r"norm1.\1"),
    (r"(?:norm2|ln_2|layernorm_after)\.(weight|bias)", r"norm2.\1"),
    (r"(?:attn\.qkv\.|self_attention\.in_proj_)(weight|bias)", r"qkv.\1"),
    (r"attn\.qkv\.bias_mask", "bias_mask"),
    (r"attn\.([qkv])_bias", r"\1.bias"),
    (r"attention\.attention\.([qkv])(?:uery|ey|alue)\.(weight|bias)", r"\1.\2"),
    (r"attention\.([qkv])_proj\.(weight|bias)", r"\1.\2"),
    (r"(?:attn\.proj|self_attention\.out_proj|attention\.output\.dense|attention\.o_proj)\.(weight|bias)", r"proj.\1"),
    (r"(?:ls([12])\.gamma|gamma_([12])|layer_scale([12])\.lambda1)", r"ls\1\2\3.gamma"),
    (r"mlp\.w12\.(weight|bias)|mlp\.weights_in\.(weight|bias)", r"w12.\1\2"),
    (r"mlp\.(?:w3|weights_out)\.(weight|bias)", r"w3.\1"),
    (r"mlp\.(?:w1|fc1_g|gate_proj)\.(weight|bias)", r"gate.\1"),
    (r"mlp\.(?:w2|fc1_x|up_proj)\.(weight|bias)", r"up.\1"),
    (r"(?:mlp\.(?:fc1|0|linear_1)|intermediate\.dense)\.(weight|bias)", r"fc1.\1"),
    (r"(?:mlp\.(?:fc2|3|linear_2|down_proj)|output\.dense)\.(weight|bias)", r"fc2.\1"),
)
#: What an encoder has no use for, and what it is.
_DROPPED = (
    (r"(?:heads?|fc|classifier|pre_logits|lm_head|head_dist)\..*", "classification or projection head"),
    (r"(?:dino|ibot)_?(?:head|loss|patch_loss).*|(?:dino|ibot|gram|predictor)[._].*", "part of a training method"),
    (r"(?:embeddings\.)?mask_token", "token of hidden patches"),
    (r"decoder[._].*", "decoder"),
    (r"(?:local_)?cls_norm\..*", "norm of other class tokens"),
    (r"pooler\..*", "pooling layer"),
    (r"student\..*", "student"),
)


def within(names: Iterable[str], anchors: tuple[str, ...]) -> str | None:
    """What stands before the names of the model in a file; None where no anchor is found.

    Of several models a teacher is preferred, and no student is taken while there is another.
    """
    found = []
    for name in names:
        for anchor in anchors:
            prefix = name.removesuffix(anchor)
            if prefix != name and _BEFORE.fullmatch(prefix):
                found.append(prefix)
    return min(found, key=lambda p: ("student" in p, "teacher" not in p, len(p)), default=None)


def renamed(tensors: Mapping[str, Tensor], where: str) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors of a transformer by names that all families share, and what was left out and why.

    Raises
    ------
    RunError
        If there is no 2-D transformer, a name is not known, or two names mean the same tensor.
    """
    prefix = within(tensors, _ANCHORS)
    if prefix is None:
        raise _stranger(tensors, where)
    known: dict[str, Tensor] = {}
    dropped: dict[str, str] = {}
    unknown: list[str] = []
    twice: list[str] = []
    for name, tensor in tensors.items():
        own = name.removeprefix(prefix) if name.startswith(prefix) else None
        common = None if own is None else _common(own)
        if common is not None:
            twice += [name] if common in known else []
            known[common] = tensor
        elif (why := _useless(name if own is None else own)) is not None:
            dropped[name] = why
        else:
            unknown.append(name)
    if unknown or twice:
        what, names = ("unknown", unknown) if unknown else ("repeated", twice)
        raise RunError(
            f"{where} has {len(names)} {what} tensors: {listed(names)}",
            "the tensors of DINO, DINOv2, DINOv3, MAE, torchvision, timm or Hugging Face vision transformers",
            "nothing is left out unless it is known to be of no use to an encoder",
        )
    return known, dropped


def _common(name: str) -> str | None:
    found = _BLOCK.fullmatch(name)
    table, rest, before = (_TOP, name, "")
    if found:
        number = found["a"] or found["b"] or found["c"]
        table, rest, before = _INNER, found["rest"], f"blocks.{int(number)}."
    for pattern, common in table:
        matched = re.fullmatch(pattern, rest)
        if matched:
            return before + matched.expand(common)
    return None


def _useless(name: str) -> str | None:
    plain = re.sub(r"^(?:(?:module|_orig_mod|teacher|model|backbone)\.)*", "", name)
    return next((why for pattern, why in _DROPPED if re.fullmatch(pattern, plain)), None)


def _stranger(tensors: Mapping[str, Tensor], where: str) -> RunError:
    if convnext_family(tensors) is not None:
        return RunError(
            f"{where} is a ConvNeXt", "a vision transformer", "read_convnext, or neuropil inflate, takes it"
        )
    return RunError(
        f"{where} holds no 2-D vision transformer: among {len(tensors)} tensors ({listed(list(tensors))}) there is no "
        "kernel of patches",
        "one of " + ", ".join(_ANCHORS),
    )
