"""Published vision models."""

# Configurations stand in a line each.
# ruff: noqa: E501
from __future__ import annotations

from typing import Any

import torch
from published_cases import Fields, adamw, classes, images, numbers, own_loss, published, sgd, stepped, supervised
from torch import Tensor, nn
from torch.nn import functional

TIMM = {
    "resnet10t": 32,
    "convnext_atto": 32,
    "efficientnet_lite0": 32,
    "mobilenetv3_small_050": 32,
    "ghostnet_050": 32,
    "vit_tiny_patch16_224": 32,
    "deit_tiny_distilled_patch16_224": 32,
    "swin_tiny_patch4_window7_224": 64,
    "mixer_s16_224": 32,
    "gmlp_ti16_224": 32,
    "poolformer_s12": 32,
    "coat_tiny": 32,
    "xcit_nano_12_p16_224": 32,
    "pvt_v2_b0": 32,
    "maxvit_rmlp_pico_rw_256": 64,
    "edgenext_xx_small": 64,
    "levit_128s": 64,
    "crossvit_tiny_240": 64,
    "skresnet18": 32,
    "halonet26t": 64,
    "lambda_resnet26t": 64,
    "resnest14d": 64,
    "beit_base_patch16_224": 32,
    "eva02_tiny_patch14_224": 28,
    "focalnet_tiny_srf": 64,
    "davit_tiny": 64,
    "hiera_tiny_224": 64,
    "volo_d1_224": 64,
    "mambaout_femto": 64,
}
# Depths and widths cut down, where the full model takes longer than a minute of one processor.
SMALL: dict[str, dict[str, Any]] = {
    "vit_tiny_patch16_224": {"depth": 2, "img_size": 32},
    "deit_tiny_distilled_patch16_224": {"depth": 2, "img_size": 32},
    "swin_tiny_patch4_window7_224": {
        "depths": (2, 2),
        "embed_dim": 32,
        "num_heads": (2, 4),
        "img_size": 64,
        "window_size": 4,
    },
    "mixer_s16_224": {"num_blocks": 2, "embed_dim": 64, "img_size": 32},
    "gmlp_ti16_224": {"num_blocks": 2, "img_size": 32},
    "coat_tiny": {"img_size": 32},
    "xcit_nano_12_p16_224": {"depth": 2, "img_size": 32},
    "beit_base_patch16_224": {"depth": 2, "embed_dim": 64, "num_heads": 2, "img_size": 32},
    "eva02_tiny_patch14_224": {"depth": 2, "img_size": 28},
    "levit_128s": {"img_size": 64},
    "crossvit_tiny_240": {"img_size": 64},
    "maxvit_rmlp_pico_rw_256": {"img_size": 64},
    "hiera_tiny_224": {"img_size": (64, 64), "embed_dim": 32, "stages": (1, 1, 2, 1)},
    "volo_d1_224": {"img_size": 64, "layers": (1, 1, 1, 1)},
    "densenet121": {"block_config": (2, 2, 2, 2)},
    "halonet26t": {},
    "davit_tiny": {"depths": (1, 1, 1, 1)},
    "focalnet_tiny_srf": {"depths": (1, 1, 1, 1)},
}


def _timm(name: str, size: int) -> None:
    @published("timm", name)
    def make() -> Fields:
        import timm

        model = timm.create_model(name, num_classes=10, **SMALL.get(name, {}))
        loss = _distilled if "distilled" in name else functional.cross_entropy
        return supervised(model, images(size), classes(), loss, lambda p: torch.optim.SGD(p, lr=0.01, momentum=0.9))


def _distilled(made: Any, target: Tensor) -> Tensor:
    parts = made if isinstance(made, tuple) else (made,)
    return torch.stack([functional.cross_entropy(part, target) for part in parts]).mean()


for _name, _size in TIMM.items():
    _timm(_name, _size)


@published("timm", "convnext_atto, drop path, label smoothing, EMA, LAMB")
def timm_recipe() -> Fields:
    import timm
    from timm.loss import LabelSmoothingCrossEntropy
    from timm.optim import Lamb
    from timm.utils import ModelEmaV2

    model = timm.create_model("convnext_atto", num_classes=10, drop_path_rate=0.1, depths=(1, 1, 1, 1))
    optimizer, ema, loss = Lamb(model.parameters(), lr=1e-3), ModelEmaV2(model, decay=0.9), LabelSmoothingCrossEntropy()

    def step(x: Tensor, y: Tensor) -> Tensor:
        model.train()
        optimizer.zero_grad()
        value = loss(model(x), y)
        value.backward()
        optimizer.step()
        ema.update(model)
        return value

    return stepped({"model": model, "ema": ema.module}, optimizer, step, images(), classes())


@published("timm", "vit_tiny, mixup, soft targets, NAdamW")
def timm_mixup() -> Fields:
    import timm
    from timm.data import Mixup
    from timm.loss import SoftTargetCrossEntropy
    from timm.optim import NAdamW

    model = timm.create_model("vit_tiny_patch16_224", num_classes=10, depth=1, img_size=32)
    optimizer, mix, loss = NAdamW(model.parameters(), lr=1e-3), Mixup(num_classes=10), SoftTargetCrossEntropy()

    def step(x: Tensor, y: Tensor) -> Tensor:
        model.train()
        x, y = mix(x, y)
        optimizer.zero_grad()
        value = loss(model(x), y)
        value.backward()
        optimizer.step()
        return value

    return stepped(model, optimizer, step, images(), classes())


TORCHVISION = {
    "resnet18": {},
    "mobilenet_v2": {},
    "mobilenet_v3_small": {},
    "shufflenet_v2_x0_5": {},
    "squeezenet1_1": {},
    "efficientnet_b0": {},
    "mnasnet0_5": {},
    "googlenet": {"aux_logits": False, "init_weights": False},
    "swin_t": {},
}


def _torchvision(name: str, settings: dict[str, Any]) -> None:
    @published("torchvision", name)
    def make() -> Fields:
        from torchvision import models

        size = 64 if name in ("alexnet", "googlenet", "squeezenet1_1", "swin_t") else 32
        size = 224 if name == "maxvit_t" else size
        rows = 2 if name == "maxvit_t" else 8
        model = getattr(models, name)(weights=None, num_classes=10, **settings)
        return supervised(model, images(size, rows=rows), classes(rows=rows), batch=rows // 2)


for _name, _settings in TORCHVISION.items():
    _torchvision(_name, _settings)


@published("torchvision", "deeplabv3_mobilenet_v3_large, segmentation")
def deeplab() -> Fields:
    from torchvision.models.segmentation import deeplabv3_mobilenet_v3_large

    model = deeplabv3_mobilenet_v3_large(weights=None, weights_backbone=None, num_classes=5)
    return supervised(
        model, images(64), classes(5, 64, 64), lambda made, y: functional.cross_entropy(made["out"], y), adamw
    )


@published("torchvision", "fasterrcnn_mobilenet_v3_large_320_fpn, detection")
def faster_rcnn() -> Fields:
    from torchvision.models.detection import fasterrcnn_mobilenet_v3_large_320_fpn

    model = fasterrcnn_mobilenet_v3_large_320_fpn(weights=None, weights_backbone=None, num_classes=3)
    boxes = torch.tensor([[4.0, 4.0, 20.0, 20.0]])

    def loss(x: Tensor) -> Tensor:
        targets = [{"boxes": boxes, "labels": torch.ones(1, dtype=torch.int64)} for _ in x]
        return sum(model(list(x), targets).values())  # type: ignore[return-value]  # of tensors

    return own_loss(model, loss, images(64, rows=4), batch=2)


def _vit(module: str, name: str, size: int = 32, **settings: Any) -> None:
    @published("vit-pytorch", f"{name} ({module})" if name in ("ViT", "SimpleViT") else name)
    def make() -> Fields:
        import importlib

        model = getattr(importlib.import_module(f"vit_pytorch.{module}"), name)(**settings)
        return supervised(model, images(size), classes(), optimizer=adamw)


_plain = {"image_size": 32, "patch_size": 8, "num_classes": 10, "dim": 32, "depth": 2, "heads": 2, "mlp_dim": 64}
_vit("vit", "ViT", **_plain, dropout=0.1, emb_dropout=0.1)
_vit("simple_vit", "SimpleViT", **_plain)
_vit("cait", "CaiT", **_plain, cls_depth=1, layer_dropout=0.05)
_vit("deepvit", "DeepViT", **_plain)
_vit("xcit", "XCiT", **_plain, cls_depth=1)
_vit("ats_vit", "ViT", **_plain, max_tokens_per_depth=(8, 4))
_vit("vit_with_patch_dropout", "ViT", **_plain, patch_dropout=0.25)
_vit("vit_with_patch_merger", "ViT", **_plain)
_vit("simple_vit_with_fft", "SimpleViT", **_plain, freq_patch_size=8)
_vit("rvt", "RvT", **_plain)
_vit("learnable_memory_vit", "ViT", **_plain)
_vit("parallel_vit", "ViT", **_plain)
_vit("normalized_vit", "nViT", **{k: v for k, v in _plain.items()})
_vit("t2t", "T2TViT", image_size=32, num_classes=10, dim=32, depth=1, heads=2, mlp_dim=64, t2t_layers=((3, 2), (3, 2)))
_vit("pit", "PiT", image_size=32, patch_size=4, dim=32, num_classes=10, depth=(1, 1), heads=2, mlp_dim=64)
_vit("max_vit", "MaxViT", 64, num_classes=10, dim=16, depth=(1, 1), dim_head=8, window_size=4, dim_conv_stem=16)
_vit(
    "cct",
    "CCT",
    img_size=(32, 32),
    embedding_dim=32,
    n_conv_layers=1,
    num_layers=2,
    num_heads=2,
    mlp_ratio=2.0,
    num_classes=10,
)
_vit("twins_svt", "TwinsSVT", 64, num_classes=10, s1_emb_dim=16, s2_emb_dim=16, s3_emb_dim=16, s4_emb_dim=16, s1_local_patch_size=4, s2_local_patch_size=4, s3_local_patch_size=2, s4_local_patch_size=1, s3_depth=1, s1_global_k=4, s2_global_k=4, s3_global_k=2, s4_global_k=1)  # fmt: skip
_vit("cvt", "CvT", 64, num_classes=10, s1_emb_dim=16, s2_emb_dim=16, s3_emb_dim=16, s2_heads=2, s3_heads=2, s3_depth=1)
_vit("mobile_vit", "MobileViT", 64, image_size=(64, 64), dims=[16, 24, 32], channels=[8, 8, 16, 16, 16, 16, 16, 16, 16, 16, 32], num_classes=10)  # fmt: skip
_vit("regionvit", "RegionViT", 56, dim=(16, 16, 16, 16), depth=(1, 1, 1, 1), window_size=7, num_classes=10)


@published("vit-pytorch", "MAE, AdamW")
def masked_autoencoder() -> Fields:
    from vit_pytorch import MAE, ViT

    model = MAE(encoder=ViT(**_plain), masking_ratio=0.75, decoder_dim=32, decoder_depth=1)
    return own_loss(model, model, images())


@published("vit-pytorch", "SimMIM")
def simmim() -> Fields:
    from vit_pytorch import ViT
    from vit_pytorch.simmim import SimMIM

    model = SimMIM(encoder=ViT(**_plain), masking_ratio=0.5)
    return own_loss(model, model, images())


@published("vit-pytorch", "Dino, moving averages")
def dino() -> Fields:
    from vit_pytorch import Dino, ViT

    model = Dino(ViT(**_plain), image_size=32, hidden_layer="to_latent", projection_hidden_size=16, projection_layers=2, num_classes_K=32)  # fmt: skip
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-4)

    def step(x: Tensor) -> Tensor:
        loss = model(x)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        model.update_moving_average()
        return loss

    return stepped(model, optimizer, step, images())


@published("byol-pytorch", "BYOL of resnet18, moving average")
def byol() -> Fields:
    from byol_pytorch import BYOL
    from torchvision import models

    learner = BYOL(
        models.resnet18(num_classes=10),
        image_size=32,
        hidden_layer="avgpool",
        augment_fn=nn.Identity(),
        projection_size=16,
        projection_hidden_size=32,
    )
    optimizer = torch.optim.Adam(learner.parameters(), lr=3e-4)

    def step(x: Tensor) -> Tensor:
        loss = learner(x)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        learner.update_moving_average()
        return loss

    return stepped(learner, optimizer, step, images(), batch=4)


@published("segmentation-models-pytorch", "Unet(resnet18), DiceLoss")
def smp_unet() -> Fields:
    import segmentation_models_pytorch as smp

    model = smp.Unet("resnet18", encoder_weights=None, classes=1)
    loss = smp.losses.DiceLoss("binary")
    return supervised(model, images(32), classes(2, 1, 32, 32).float(), loss, adamw)


@published("segmentation-models-pytorch", "DeepLabV3Plus(mobilenet_v2), FocalLoss")
def smp_deeplab() -> Fields:
    import segmentation_models_pytorch as smp

    model = smp.DeepLabV3Plus("mobilenet_v2", encoder_weights=None, classes=4)
    return supervised(model, images(64), classes(4, 64, 64), smp.losses.FocalLoss("multiclass"), adamw)


@published("segmentation-models-pytorch", "FPN(resnet18), LovaszLoss")
def smp_fpn() -> Fields:
    import segmentation_models_pytorch as smp

    model = smp.FPN("resnet18", encoder_weights=None, classes=1)
    return supervised(model, images(64), classes(2, 1, 64, 64).float(), smp.losses.LovaszLoss("binary"), adamw)


@published("monai", "UNet, DiceCELoss")
def monai_unet() -> Fields:
    from monai.losses import DiceCELoss
    from monai.networks.nets import UNet

    model = UNet(spatial_dims=2, in_channels=1, out_channels=2, channels=(4, 8, 16), strides=(2, 2), num_res_units=1)
    loss = DiceCELoss(to_onehot_y=True, softmax=True)
    return supervised(model, images(32, 1), classes(2, 1, 32, 32), loss, adamw)


@published("monai", "SegResNet in three dimensions, DiceFocalLoss")
def monai_segresnet() -> Fields:
    from monai.losses import DiceFocalLoss
    from monai.networks.nets import SegResNet

    model = SegResNet(spatial_dims=3, in_channels=1, out_channels=1, init_filters=4, blocks_down=(1, 1), blocks_up=(1,))
    loss = DiceFocalLoss(sigmoid=True)
    return supervised(model, numbers(1, 8, 8, 8), classes(2, 1, 8, 8, 8).float(), loss, adamw)


@published("monai", "UNETR")
def monai_unetr() -> Fields:
    from monai.losses import DiceLoss
    from monai.networks.nets import UNETR

    model = UNETR(1, 1, (16, 16), feature_size=4, hidden_size=16, mlp_dim=32, num_heads=2, spatial_dims=2)
    return supervised(model, images(16, 1), classes(2, 1, 16, 16).float(), DiceLoss(sigmoid=True), adamw)


@published("monai", "SwinUNETR")
def monai_swin() -> Fields:
    from monai.losses import TverskyLoss
    from monai.networks.nets import SwinUNETR

    model = SwinUNETR(
        in_channels=1, out_channels=1, feature_size=12, spatial_dims=2, depths=(1, 1, 1, 1), num_heads=(1, 1, 1, 1)
    )
    return supervised(model, images(32, 1), classes(2, 1, 32, 32).float(), TverskyLoss(sigmoid=True), sgd)


@published("monai", "VNet, GeneralizedDiceLoss")
def monai_vnet() -> Fields:
    from monai.losses import GeneralizedDiceLoss
    from monai.networks.nets import VNet

    model = VNet(spatial_dims=3, in_channels=1, out_channels=1, dropout_prob_down=None, dropout_prob_up=(None, None))
    return supervised(
        model, numbers(1, 16, 16, 16), classes(2, 1, 16, 16, 16).float(), GeneralizedDiceLoss(sigmoid=True), sgd
    )


@published("monai", "VoxelMorph registration: warp by grid_sample")
def monai_voxelmorph() -> Fields:
    from monai.networks.blocks import Warp
    from monai.networks.nets import VoxelMorphUNet

    net = VoxelMorphUNet(
        spatial_dims=2, in_channels=2, unet_out_channels=8, channels=(4, 4, 8, 8, 8, 8), final_conv_channels=(4,)
    )
    head, warp = nn.Conv2d(8, 2, 3, padding=1), Warp()
    model = nn.ModuleDict({"net": net, "head": head, "warp": warp})

    def loss(fixed: Tensor, moving: Tensor) -> Tensor:
        field = model["head"](model["net"](torch.cat([moving, fixed], 1)))
        return functional.mse_loss(model["warp"](moving, field), fixed)

    return own_loss(model, loss, images(32, 1), images(32, 1) * 0.5)


@published("efficientnet-pytorch", "EfficientNet b0")
def efficientnet() -> Fields:
    from efficientnet_pytorch import EfficientNet

    return supervised(EfficientNet.from_name("efficientnet-b0", num_classes=10), images(64), classes())


@published("pretrainedmodels", "resnet18")
def cadene() -> Fields:
    import pretrainedmodels

    return supervised(
        pretrainedmodels.__dict__["bninception"](num_classes=1000, pretrained=None), images(96), classes()
    )


@published("mlp-mixer-pytorch", "MLPMixer")
def mixer() -> Fields:
    from mlp_mixer_pytorch import MLPMixer

    return supervised(
        MLPMixer(image_size=32, channels=3, patch_size=8, dim=32, depth=2, num_classes=10), images(), classes()
    )


@published("perceiver-pytorch", "Perceiver")
def perceiver() -> Fields:
    from perceiver_pytorch import Perceiver

    model = Perceiver(
        input_channels=3, input_axis=2, num_freq_bands=4, max_freq=10.0, depth=2, num_latents=8, latent_dim=16,
        cross_dim_head=8, latent_dim_head=8, latent_heads=2, num_classes=10,
    )  # fmt: skip
    return supervised(model, images(16).permute(0, 2, 3, 1).contiguous(), classes(), optimizer=adamw)


@published("slot-attention", "SlotAttention")
def slots() -> Fields:
    from slot_attention import SlotAttention

    model = SlotAttention(num_slots=3, dim=16, iters=3)
    return supervised(model, numbers(10, 16), numbers(3, 16), functional.mse_loss, adamw)


@published("lambda-networks", "LambdaLayer")
def lambdas() -> Fields:
    from lambda_networks import LambdaLayer

    layer = LambdaLayer(dim=8, dim_out=8, r=3, dim_k=4, heads=2, dim_u=1)
    return supervised(layer, images(8, 8), images(8, 8), functional.mse_loss, adamw)


@published("halonet-pytorch", "HaloAttention")
def halo() -> Fields:
    from halonet_pytorch import HaloAttention

    layer = HaloAttention(dim=8, block_size=4, halo_size=2, dim_head=4, heads=2)
    return supervised(layer, images(8, 8), images(8, 8), functional.mse_loss, adamw)


@published("glom-pytorch", "Glom, denoising")
def glom() -> Fields:
    from glom_pytorch import Glom

    model = Glom(dim=16, levels=3, image_size=16, patch_size=4)
    return supervised(model, images(16), numbers(16, 3, 16), functional.mse_loss, adamw)


@published("kornia", "SSIM loss, total variation")
def kornia_losses() -> Fields:
    import kornia

    model = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 3, 3, padding=1), nn.Sigmoid())

    def loss(made: Tensor, target: Tensor) -> Tensor:
        return kornia.losses.ssim_loss(made, target, 5) + 1e-3 * kornia.losses.total_variation(made).mean()

    return supervised(model, images(16), images(16).sigmoid(), loss, adamw)


@published("kornia", "random augmentations in the step")
def kornia_augmentation() -> Fields:
    import kornia.augmentation as augmentation

    net = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2), nn.ReLU(), nn.Flatten(), nn.LazyLinear(10))
    net(images(16))
    augment = augmentation.AugmentationSequential(augmentation.RandomHorizontalFlip(), augmentation.RandomAffine(10.0))
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01)

    def step(x: Tensor, y: Tensor) -> Tensor:
        optimizer.zero_grad()
        loss = functional.cross_entropy(net(augment(x)), y)
        loss.backward()
        optimizer.step()
        return loss

    return stepped(net, optimizer, step, images(16), classes())


@published("pytorch-msssim", "MS-SSIM loss")
def msssim() -> Fields:
    from pytorch_msssim import ssim

    model = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.Sigmoid())
    return supervised(model, images(16), images(16).sigmoid(), lambda a, b: 1 - ssim(a, b, data_range=1.0), adamw)


@published("open_clip_torch", "CLIP, contrastive loss")
def open_clip() -> Fields:
    from open_clip.loss import ClipLoss
    from open_clip.model import CLIP

    model = CLIP(
        embed_dim=16,
        vision_cfg={"image_size": 32, "layers": 2, "width": 64, "patch_size": 8},
        text_cfg={"context_length": 8, "vocab_size": 50, "width": 32, "heads": 2, "layers": 2},
    )
    criterion = ClipLoss()

    def loss(pictures: Tensor, words: Tensor) -> Tensor:
        a, b, scale = model(pictures, words)
        return criterion(a, b, scale)

    return own_loss(model, loss, images(), classes(50, 8))
