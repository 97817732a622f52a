"""Published generative models: diffusion, flows, quantisation, adversaries."""

# Configurations stand in a line each.
# ruff: noqa: E501
from __future__ import annotations

from typing import Any

import torch
from published_cases import Fields, adamw, classes, images, numbers, own_loss, published, stepped, supervised
from torch import Tensor, nn
from torch.nn import functional


def _diffusion(name: str, **settings: Any) -> None:
    @published("denoising-diffusion-pytorch", name)
    def make() -> Fields:
        from denoising_diffusion_pytorch import GaussianDiffusion, Unet

        net = Unet(dim=8, dim_mults=(1, 2), channels=3, attn_heads=2, attn_dim_head=8)
        model = GaussianDiffusion(net, image_size=16, timesteps=20, **settings)
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, betas=(0.9, 0.99))
        return own_loss(model, model, images(16).sigmoid(), optimizer=lambda _: optimizer)


_diffusion("GaussianDiffusion, v objective", objective="pred_v")
_diffusion("GaussianDiffusion, noise objective, cosine schedule", objective="pred_noise", beta_schedule="cosine")


@published("denoising-diffusion-pytorch", "GaussianDiffusion, two backward passes, clipping, EMA of ema-pytorch")
def diffusion_recipe() -> Fields:
    from denoising_diffusion_pytorch import GaussianDiffusion, Unet
    from ema_pytorch import EMA

    model = GaussianDiffusion(Unet(dim=8, dim_mults=(1, 2), attn_heads=2, attn_dim_head=8), image_size=16, timesteps=20)
    optimizer, ema = torch.optim.Adam(model.parameters(), lr=1e-3), EMA(model, beta=0.9, update_every=1)

    def step(x: Tensor) -> float:
        total = 0.0
        for part in x.chunk(2):
            loss = model(part) / 2
            total += loss.item()
            loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        ema.update()
        return total

    return stepped({"model": model, "ema": ema}, optimizer, step, images(16).sigmoid())


@published("rectified-flow-pytorch", "RectifiedFlow")
def rectified_flow() -> Fields:
    from rectified_flow_pytorch import RectifiedFlow, Unet

    model = RectifiedFlow(Unet(dim=8, dim_mults=(1, 2), attn_heads=2, attn_dim_head=8))
    return own_loss(model, model, images(16))


@published("x-unet", "XUnet")
def x_unet() -> Fields:
    from x_unet import XUnet

    model = XUnet(dim=8, channels=3, dim_mults=(1, 2), nested_unet_depths=(1, 1), consolidate_upsample_fmaps=True)
    return supervised(model, images(16), images(16), functional.mse_loss, adamw)


@published("diffusers", "UNet2DModel, DDPM noise")
def diffusers_unet() -> Fields:
    from diffusers import DDPMScheduler, UNet2DModel

    model = UNet2DModel(
        sample_size=16, in_channels=3, out_channels=3, layers_per_block=1, block_out_channels=(8, 16), norm_num_groups=4,
        down_block_types=("DownBlock2D", "AttnDownBlock2D"), up_block_types=("AttnUpBlock2D", "UpBlock2D"),
    )  # fmt: skip
    noise_scheduler = DDPMScheduler(num_train_timesteps=50)

    def loss(clean: Tensor) -> Tensor:
        noise = torch.randn(clean.shape)
        steps = torch.randint(0, 50, (clean.shape[0],))
        noisy = noise_scheduler.add_noise(clean, noise, steps)
        return functional.mse_loss(model(noisy, steps, return_dict=False)[0], noise)

    return own_loss(model, loss, images(16))


@published("diffusers", "AutoencoderKL")
def diffusers_autoencoder() -> Fields:
    from diffusers import AutoencoderKL

    model = AutoencoderKL(block_out_channels=(8,), norm_num_groups=4, latent_channels=2)

    def loss(x: Tensor) -> Tensor:
        latent = model.encode(x).latent_dist
        return functional.mse_loss(model.decode(latent.sample()).sample, x) + 1e-6 * latent.kl().mean()

    return own_loss(model, loss, images(16))


@published("diffusers", "DiTTransformer2DModel")
def diffusers_dit() -> Fields:
    from diffusers import DiTTransformer2DModel

    model = DiTTransformer2DModel(num_attention_heads=2, attention_head_dim=8, in_channels=3, num_layers=1, sample_size=8, patch_size=2, num_embeds_ada_norm=10, out_channels=3)  # fmt: skip

    def loss(x: Tensor, label: Tensor) -> Tensor:
        noise = torch.randn_like(x)
        time = torch.randint(0, 10, (len(x),))
        return functional.mse_loss(model(x + noise, timestep=time, class_labels=label).sample, noise)

    return own_loss(model, loss, images(8), classes(10))


def _quantized(name: str, cls: str, **settings: Any) -> None:
    @published("vector-quantize-pytorch", name)
    def make() -> Fields:
        import vector_quantize_pytorch

        quantizer = getattr(vector_quantize_pytorch, cls)(**settings)
        model = nn.ModuleDict({"enter": nn.Linear(8, 8), "quantizer": quantizer, "leave": nn.Linear(8, 8)})

        def loss(x: Tensor) -> Tensor:
            made, *others = model["quantizer"](model["enter"](x))
            extra = others[1] if len(others) > 1 else 0.0
            return functional.mse_loss(model["leave"](made), x) + (extra.sum() if isinstance(extra, Tensor) else extra)

        return own_loss(model, loss, numbers(6, 8))


_quantized("VectorQuantize, moving averages", "VectorQuantize", dim=8, codebook_size=16, decay=0.8)
_quantized("VectorQuantize, learnable codebook", "VectorQuantize", dim=8, codebook_size=16, learnable_codebook=True, ema_update=False)  # fmt: skip
_quantized("ResidualVQ", "ResidualVQ", dim=8, num_quantizers=2, codebook_size=16)
_quantized("FSQ", "FSQ", levels=[4, 4, 4], dim=8)
_quantized("LFQ", "LFQ", dim=8, codebook_size=16)


@published("normflows", "RealNVP")
def real_nvp() -> Fields:
    import normflows

    flows = []
    for _ in range(2):
        flows.append(normflows.flows.AffineCouplingBlock(normflows.nets.MLP([1, 8, 8, 2], init_zeros=True)))
        flows.append(normflows.flows.Permute(2, mode="swap"))
    model = normflows.NormalizingFlow(normflows.distributions.DiagGaussian(2), flows)
    return own_loss(model, model.forward_kld, numbers(2))


@published("normflows", "neural spline flow")
def spline_flow() -> Fields:
    import normflows

    flows = [normflows.flows.AutoregressiveRationalQuadraticSpline(2, 1, 8), normflows.flows.LULinearPermute(2)]
    model = normflows.NormalizingFlow(normflows.distributions.DiagGaussian(2, trainable=False), flows)
    return own_loss(model, model.forward_kld, numbers(2))


def _zuko(name: str, cls: str, **settings: Any) -> None:
    @published("zuko", name)
    def make() -> Fields:
        import zuko

        model = getattr(zuko.flows, cls)(**settings)
        return own_loss(model, lambda x: -model().log_prob(x).mean(), numbers(3))


_zuko("MAF", "MAF", features=3, transforms=2, hidden_features=(8, 8))
_zuko("neural spline flow", "NSF", features=3, transforms=1, hidden_features=(8, 8))


@published("labml-nn", "DDPM")
def labml_ddpm() -> Fields:
    from labml_nn.diffusion.ddpm import DenoiseDiffusion
    from labml_nn.diffusion.ddpm.unet import UNet

    net = UNet(image_channels=1, n_channels=32, ch_mults=(1, 1), is_attn=(False, False), n_blocks=1)
    diffusion = DenoiseDiffusion(net, 20, torch.device("cpu"))
    return own_loss(net, diffusion.loss, images(8, 1))


def _gan_networks() -> tuple[nn.Module, nn.Module]:
    generator = nn.Sequential(
        nn.ConvTranspose2d(8, 8, 4, 1, 0, bias=False), nn.BatchNorm2d(8), nn.ReLU(True),
        nn.ConvTranspose2d(8, 3, 4, 2, 1, bias=False), nn.Tanh(),
    )  # fmt: skip
    critic = nn.Sequential(
        nn.Conv2d(3, 8, 4, 2, 1, bias=False), nn.LeakyReLU(0.2, True), nn.Conv2d(8, 1, 4, 1, 0, bias=False)
    )
    return generator, critic


@published("labml-nn", "Wasserstein GAN with gradient penalty")
def labml_wgan() -> Fields:
    from labml_nn.gan.wasserstein import DiscriminatorLoss, GeneratorLoss
    from labml_nn.gan.wasserstein.gradient_penalty import GradientPenalty

    generator, critic = _gan_networks()
    penalty, critic_loss, generator_loss = GradientPenalty(), DiscriminatorLoss(), GeneratorLoss()
    critics = torch.optim.Adam(critic.parameters(), lr=1e-3, betas=(0.5, 0.999))
    makers = torch.optim.Adam(generator.parameters(), lr=1e-3, betas=(0.5, 0.999))

    def step(x: Tensor) -> dict[str, Tensor]:
        critics.zero_grad()
        x = x.requires_grad_()
        real, fake = critic(x), critic(generator(torch.randn(len(x), 8, 1, 1)).detach())
        a, b = critic_loss(real, fake)
        loss = a + b + 10 * penalty(x, real)
        loss.backward()
        critics.step()
        makers.zero_grad()
        made = generator_loss(critic(generator(torch.randn(len(x), 8, 1, 1))))
        made.backward()
        makers.step()
        return {"critic": loss, "generator": made}

    return stepped({"g": generator, "c": critic}, {"g": makers, "c": critics}, step, images(8))


@published("siren-pytorch", "SirenNet of an image")
def siren() -> Fields:
    from siren_pytorch import SirenNet

    model = SirenNet(dim_in=2, dim_hidden=16, dim_out=3, num_layers=3, w0_initial=30.0)
    return supervised(model, numbers(16, 2), numbers(16, 3), functional.mse_loss, adamw)


@published("monai", "AutoencoderKL, PatchDiscriminator")
def monai_generative() -> Fields:
    from monai.networks.nets import AutoencoderKL

    model = AutoencoderKL(
        spatial_dims=2, in_channels=1, out_channels=1, channels=(8, 8), latent_channels=2, num_res_blocks=1,
        norm_num_groups=4, attention_levels=(False, False),
    )  # fmt: skip

    def loss(x: Tensor) -> Tensor:
        made, mean, sigma = model(x)
        return functional.l1_loss(made, x) + 1e-6 * (mean.square() + sigma.square() - 2 * sigma.log()).mean()

    return own_loss(model, loss, images(16, 1))
