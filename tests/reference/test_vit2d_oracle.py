"""Files of every family against the transformers library: the same output, whatever the tensors are called."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from neuropil.models.checkpoints2d import read_vit2d

transformers = pytest.importorskip("transformers")
State = dict[str, Tensor]
SIZES = {"hidden_size": 128, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 32, "patch_size": 8}


def randomised(model: nn.Module) -> nn.Module:
    """Weights large enough that a wrong place or sign shows."""
    torch.manual_seed(3)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.normal_(1.0 if "norm" in name and name.endswith("weight") else 0.0, 0.15)
    return model.eval()


def vit(**changes: Any) -> nn.Module:
    config = transformers.ViTConfig(**SIZES, intermediate_size=192, **changes)
    return randomised(transformers.ViTModel(config, add_pooling_layer=False))


def dinov2(registers: bool = False, **changes: Any) -> nn.Module:
    kind = "Dinov2WithRegisters" if registers else "Dinov2"
    config = getattr(transformers, f"{kind}Config")(**SIZES, mlp_ratio=2, **changes)
    return randomised(getattr(transformers, f"{kind}Model")(config))


def dinov3(**changes: Any) -> nn.Module:
    config = transformers.DINOv3ViTConfig(**SIZES, intermediate_size=192, num_register_tokens=4, **changes)
    return randomised(transformers.DINOv3ViTModel(config))


def answer(model: nn.Module, image: Tensor) -> Tensor:
    with torch.no_grad():
        out: Tensor = model(image).last_hidden_state
    return out


def same(path: Path, model: nn.Module, *, size: tuple[int, int] = (32, 32)) -> Any:
    """Read a file and compare it with the model that it was saved from."""
    read = read_vit2d(path)
    image = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        found = read.network()(image)
    assert torch.allclose(found, answer(model, image), atol=1e-5)
    assert found.std() > 0.1
    return read


# --- Hugging Face's own files


def mae_encoder(folder: Path) -> nn.Module:
    """The encoder of a masked autoencoder that hides nothing, in the order of the patches."""
    config = transformers.ViTMAEConfig(
        **SIZES,
        intermediate_size=192,
        mask_ratio=0.0,
        decoder_hidden_size=32,
        decoder_num_hidden_layers=1,
        decoder_num_attention_heads=1,
        decoder_intermediate_size=32,
    )
    model = randomised(transformers.ViTMAEForPreTraining(config))
    model.save_pretrained(folder)

    class Ordered(nn.Module):
        def forward(self, image: Tensor) -> Any:
            return model.vit(image, noise=torch.arange(16.0).expand(len(image), -1))

    return Ordered()


OWN: dict[str, Callable[[], nn.Module]] = {
    "ViT": vit,
    "DINOv2": dinov2,
    "DINOv2 reg": lambda: dinov2(registers=True),
    "DINOv2 gated": lambda: dinov2(use_swiglu_ffn=True),
    "DINOv3": dinov3,
    "DINOv3 gated": lambda: dinov3(use_gated_mlp=True, hidden_act="silu"),
}


@pytest.mark.parametrize("kind", OWN)
def test_folders_of_hugging_face(kind: str, tmp_path: Path) -> None:
    model = OWN[kind]()
    model.save_pretrained(tmp_path)
    read = same(tmp_path, model)
    assert read.family == f"Hugging Face {kind.split()[0]}"
    assert read.heads_from == "from its config.json"
    # the bare weights, under the names of today's library
    torch.save(model.state_dict(), tmp_path / "bare.pth")
    (tmp_path / "config.json").unlink()
    bare = same(tmp_path / "bare.pth", model)
    assert "64 wide" in bare.heads_from


def test_a_masked_autoencoder_of_hugging_face_loses_its_decoder(tmp_path: Path) -> None:
    read = same(tmp_path, mae_encoder(tmp_path))
    assert set(read.dropped.values()) == {"decoder"}
    assert all(name.startswith("decoder.") for name in read.dropped)


def test_a_classifier_of_hugging_face_loses_its_head(tmp_path: Path) -> None:
    model = randomised(
        transformers.ViTForImageClassification(transformers.ViTConfig(**SIZES, intermediate_size=192, num_labels=3))
    )
    model.save_pretrained(tmp_path)
    read = same(tmp_path, model.vit)
    assert set(read.dropped) == {"classifier.weight", "classifier.bias"}


def test_rotary_positions_serve_images_of_other_shapes(tmp_path: Path) -> None:
    model = dinov3()
    model.save_pretrained(tmp_path)
    read = same(tmp_path, model, size=(24, 56))
    # the file holds no grid of places that could be stretched, so it is the angles that fitted both shapes
    assert read.shape.grid is None
    assert same(tmp_path, model, size=(56, 24)).family == read.family


# --- the same weights, under the names that others give them


def parts_of(model: nn.Module) -> State:
    """The weights of any of them under names of ours: `patch.weight`, `0.q.weight`, `0.ls1`, `0.gate.bias`, ..."""
    names = (
        (r"embeddings\.patch_embeddings\.(?:projection\.)?", "patch."),
        (r"embeddings\.", ""),
        (r"(?:model\.)?(?:encoder\.)?layers?\.(\d+)\.", r"\1."),
        (r"attention\.(?:attention\.)?([qkvo])_proj", r"\1"),
        (r"layernorm_before|(?<=\d\.)norm1", "norm1"),
        (r"layernorm_after|(?<=\d\.)norm2", "norm2"),
        (r"^(?:layernorm|norm)\.", "norm."),
        (r"layer_scale(\d)\.lambda1", r"ls\1"),
        (r"mlp\.(?:fc1|up_proj)", "up"),
        (r"mlp\.gate_proj", "gate"),
        (r"mlp\.(?:fc2|down_proj)", "down"),
    )
    found = {}
    for name, tensor in model.state_dict().items():
        for pattern, word in names:
            name = re.sub(pattern, word, name)
        found[name] = tensor
    return found


def put_together(model: nn.Module, layer: str, **words: str) -> State:
    """Weights with queries, keys and values as one, under names given by `words`; `layer` is put before a block's."""
    own, out = parts_of(model), {}
    for n in range(SIZES["num_hidden_layers"]):
        for end in ("weight", "bias"):
            parts = [own.pop(f"{n}.{p}.{end}", torch.zeros(128)) for p in "qkv"]
            own[f"{n}.qkv.{end}"] = torch.cat(parts)
    for name, tensor in own.items():
        number, _, rest = name.partition(".")
        if number.isdigit():
            head, _, end = rest.partition(".")
            word = words.get(head, head)
            out[layer.format(n=number) + (f"{word}.{end}" if end and "{" not in word else word.format(end))] = tensor
        else:
            head, _, end = name.partition(".")
            out[words.get(head, head) + (f".{end}" if end else "")] = tensor
    return out


TIMM = {
    "patch": "patch_embed.proj",
    "position_embeddings": "pos_embed",
    "qkv": "attn.qkv",
    "o": "attn.proj",
    "up": "mlp.fc1",
    "down": "mlp.fc2",
    "ls1": "ls1.gamma",
    "ls2": "ls2.gamma",
}
TORCHVISION = {
    "patch": "conv_proj",
    "cls_token": "class_token",
    "position_embeddings": "encoder.pos_embedding",
    "norm": "encoder.ln",
    "norm1": "ln_1",
    "norm2": "ln_2",
    "qkv": "self_attention.in_proj_{}",
    "o": "self_attention.out_proj",
    "up": "mlp.0",
    "down": "mlp.3",
}


def test_dino_v1_plain_and_full_training_file(tmp_path: Path) -> None:
    model = vit(layer_norm_eps=1e-6)
    state = put_together(model, "blocks.{n}.", **TIMM)
    torch.save(state, tmp_path / "dino.pth")
    read = same(tmp_path / "dino.pth", model)
    assert (read.family, read.shape.heads, read.shape.grid, read.dropped) == ("DINO", 2, (4, 4), {})
    head = {"head.mlp.0.weight": torch.zeros(5, 128), "head.last_layer.weight_g": torch.ones(7, 1)}
    full = {
        "student": {f"module.backbone.{k}": torch.zeros_like(t) for k, t in state.items()},
        "teacher": {f"backbone.{k}": t for k, t in state.items()} | head,
        "optimizer": {"state": {}, "param_groups": [{"lr": 0.1}]},
        "epoch": 3,
        "args": argparse.Namespace(arch="vit_small", lr=0.1),
    }
    torch.save(full, tmp_path / "checkpoint.pth")
    read = same(tmp_path / "checkpoint.pth", model)
    assert read.dropped == dict.fromkeys(head, "classification or projection head")
    assert any("student" in note and "args" in note for note in read.notes)


def test_both_networks_in_one_flat_file_give_the_teacher(tmp_path: Path) -> None:
    model = vit(layer_norm_eps=1e-6)
    state = put_together(model, "blocks.{n}.", **TIMM)
    both = {f"teacher.backbone.{k}": t for k, t in state.items()}
    both |= {f"student.backbone.{k}": torch.zeros_like(t) for k, t in state.items()}
    torch.save({"model": both}, tmp_path / "x.pth")
    assert set(same(tmp_path / "x.pth", model).dropped.values()) == {"student"}


def test_mae(tmp_path: Path) -> None:
    model = vit(layer_norm_eps=1e-6)
    state = put_together(model, "blocks.{n}.", **TIMM)
    extra = {"mask_token": torch.zeros(1, 1, 32), "decoder_pos_embed": torch.zeros(1, 17, 32)}
    extra |= {"decoder_blocks.0.attn.qkv.weight": torch.zeros(96, 32), "decoder_pred.bias": torch.zeros(192)}
    torch.save({"model": state | extra}, tmp_path / "mae.pth")
    read = same(tmp_path / "mae.pth", model)
    assert read.family == "MAE"
    assert set(read.dropped) == set(extra)


@pytest.mark.parametrize("legacy", [False, True])
def test_torchvision(legacy: bool, tmp_path: Path) -> None:
    model = vit(layer_norm_eps=1e-6)
    words = TORCHVISION | ({"up": "mlp.linear_1", "down": "mlp.linear_2"} if legacy else {})
    state = put_together(model, "encoder.layers.encoder_layer_{n}.", **words)
    state["heads.head.weight"] = torch.zeros(3, 128)
    torch.save(state, tmp_path / "vit.pth")
    read = same(tmp_path / "vit.pth", model)
    assert (read.family, set(read.dropped)) == ("torchvision", {"heads.head.weight"})


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("registers", [False, True])
def test_dinov2(registers: bool, chunked: bool, tmp_path: Path) -> None:
    model = dinov2(registers=registers)
    layer = "blocks.{n}.{n}." if chunked else "blocks.{n}."
    save_file(put_together(model, layer, **TIMM), tmp_path / "x.safetensors")
    read = same(tmp_path / "x.safetensors", model)
    assert (read.family, read.shape.prefix, read.shape.layer_scale) == ("DINOv2", 5 if registers else 1, True)
    assert set(read.dropped) == {"mask_token"}


@pytest.mark.parametrize("timm", [False, True])
def test_gated_dinov2(timm: bool, tmp_path: Path) -> None:
    model = dinov2(use_swiglu_ffn=True)
    first, last = ("mlp.fc1", "mlp.fc2") if timm else ("mlp.w12", "mlp.w3")
    state = put_together(model, "blocks.{n}.", **TIMM | {"down": last})
    for n in range(2):
        for end in ("weight", "bias"):
            up, gate = state.pop(f"blocks.{n}.mlp.fc1.{end}"), state.pop(f"blocks.{n}.gate.{end}")
            state[f"blocks.{n}.{first}.{end}"] = torch.cat([gate, up])
    torch.save(state, tmp_path / "g.pth")
    assert same(tmp_path / "g.pth", model).shape.mlp == "swiglu"


def test_timm_whose_class_token_holds_its_position(tmp_path: Path) -> None:
    model = dinov2(registers=True)
    state = put_together(model, "blocks.{n}.", **TIMM | {"register_tokens": "reg_token"})
    del state["mask_token"]
    state["cls_token"] = state["cls_token"] + state["pos_embed"][:, :1]
    state["pos_embed"] = state["pos_embed"][:, 1:].clone()
    save_file(state, tmp_path / "x.safetensors")
    assert same(tmp_path / "x.safetensors", model).family == "timm"


@pytest.mark.parametrize("gated", [False, True])
def test_dinov3_with_its_mask_of_biases(gated: bool, tmp_path: Path) -> None:
    model = dinov3(**({"use_gated_mlp": True, "hidden_act": "silu"} if gated else {}))
    words = {"register_tokens": "storage_tokens"}
    words |= {"gate": "mlp.w1", "up": "mlp.w2", "down": "mlp.w3"} if gated else {}
    state = put_together(model, "blocks.{n}.", **TIMM | words)
    state["rope_embed.periods"] = 100 ** (torch.arange(16) / 16)
    state["local_cls_norm.weight"] = torch.ones(128)
    for n in range(2):
        mask = torch.ones(384)
        mask[128:256] = 0
        state[f"blocks.{n}.attn.qkv.bias_mask"] = mask
        # what lies under the mask must not matter
        state[f"blocks.{n}.attn.qkv.bias"] = state[f"blocks.{n}.attn.qkv.bias"] + 7 * (1 - mask)
    torch.save(state, tmp_path / "dinov3.pth")
    read = same(tmp_path / "dinov3.pth", model)
    assert (read.family, read.shape.grid, read.shape.eps) == ("DINOv3", None, 1e-5)
    assert read.heads_from == "from its rotary periods"
    assert set(read.dropped) == {"mask_token", "local_cls_norm.weight"}


@pytest.mark.parametrize("gated", [False, True])
def test_dinov3_of_timm(gated: bool, tmp_path: Path) -> None:
    model = dinov3(**({"use_gated_mlp": True, "hidden_act": "silu"} if gated else {}))
    words = {"register_tokens": "reg_token", "ls1": "gamma_1", "ls2": "gamma_2"}
    words |= {"gate": "mlp.fc1_g", "up": "mlp.fc1_x"} if gated else {}
    state = put_together(model, "blocks.{n}.", **TIMM | words)
    del state["mask_token"]
    for n in range(2):
        bias = state.pop(f"blocks.{n}.attn.qkv.bias")
        state[f"blocks.{n}.attn.q_bias"], _, state[f"blocks.{n}.attn.v_bias"] = (b.clone() for b in bias.chunk(3))
    save_file(state, tmp_path / "x.safetensors")
    read = same(tmp_path / "x.safetensors", model)
    assert read.family == "timm DINOv3"
    assert set(read.supplied) == {"rope_periods", "blocks.0.attn.qkv.bias", "blocks.1.attn.qkv.bias"}
