"""Published models of sequences, tables, graphs, audio and physics."""

# Configurations stand in a line each.
# ruff: noqa: E501
from __future__ import annotations

from typing import Any

import torch
from published_cases import ROWS, Fields, adamw, classes, numbers, own_loss, published, sgd, stepped, supervised
from torch import Tensor, nn
from torch.nn import functional

NODES, EDGES = 12, 30


@published("pytorch-tcn", "TCN")
def tcn() -> Fields:
    from pytorch_tcn import TCN

    return supervised(TCN(num_inputs=3, num_channels=[6, 6], kernel_size=3), numbers(3, 16), numbers(6, 16), functional.mse_loss, adamw)  # fmt: skip


@published("conformer", "Conformer")
def conformer() -> Fields:
    from conformer import Conformer

    model = Conformer(dim=16, depth=1, dim_head=8, heads=2, conv_kernel_size=7)
    return supervised(model, numbers(12, 16), numbers(12, 16), functional.mse_loss, adamw)


@published("speechbrain", "Conformer encoder, CTC loss")
def speechbrain_ctc() -> Fields:
    from speechbrain.nnet.losses import ctc_loss
    from speechbrain.nnet.RNN import LiGRU

    body, head = LiGRU(hidden_size=8, input_shape=[4, 12, 6], num_layers=1), nn.Linear(8, 6)
    model = nn.ModuleDict({"body": body, "head": head})

    def loss(x: Tensor, y: Tensor) -> Tensor:
        made = model["head"](model["body"](x)[0]).log_softmax(2)
        return ctc_loss(made, y, torch.ones(len(x)), torch.ones(len(x)), blank_index=0)

    return own_loss(model, loss, numbers(12, 6), classes(5, 4) + 1)


@published("pytorch-crf", "CRF over an LSTM")
def crf() -> Fields:
    from torchcrf import CRF

    model = nn.ModuleDict({"lstm": nn.LSTM(4, 6, batch_first=True), "head": nn.Linear(6, 5), "crf": CRF(5, batch_first=True)})  # fmt: skip

    def loss(x: Tensor, y: Tensor) -> Tensor:
        return -model["crf"](model["head"](model["lstm"](x)[0]), y, reduction="mean")

    return own_loss(model, loss, numbers(7, 4), classes(5, 7))


@published("nbeats-pytorch", "NBeatsNet")
def nbeats() -> Fields:
    from nbeats_pytorch.model import NBeatsNet

    model = NBeatsNet(device="cpu", forecast_length=4, backcast_length=12, hidden_layer_units=8, nb_blocks_per_stack=1)
    return supervised(model, numbers(12), numbers(4), lambda made, y: functional.mse_loss(made[1], y), adamw)


@published("ncps", "LTC, liquid time constants")
def liquid() -> Fields:
    from ncps.torch import LTC

    return supervised(LTC(3, 6, ode_unfolds=2), numbers(5, 3), numbers(5, 6), lambda made, y: functional.mse_loss(made[0], y), adamw)  # fmt: skip


@published("ncps", "CfC")
def cfc() -> Fields:
    from ncps.torch import CfC

    return supervised(CfC(3, 6), numbers(5, 3), numbers(5, 6), lambda made, y: functional.mse_loss(made[0], y), adamw)


@published("snntorch", "leaky neurons over time")
def spiking() -> Fields:
    import snntorch
    from snntorch import surrogate

    grad = surrogate.fast_sigmoid()
    model = nn.ModuleDict({
        "a": nn.Linear(6, 8), "x": snntorch.Leaky(beta=0.9, spike_grad=grad), "b": nn.Linear(8, 3),
        "y": snntorch.Leaky(beta=0.9, spike_grad=grad),
    })  # fmt: skip

    def loss(x: Tensor, y: Tensor) -> Tensor:
        first, second, total = model["x"].init_leaky(), model["y"].init_leaky(), 0.0
        for _ in range(4):
            spikes, first = model["x"](model["a"](x), first)
            _, second = model["y"](model["b"](spikes), second)
            total = total + functional.cross_entropy(second, y)
        return total  # type: ignore[return-value]  # a tensor by then

    return own_loss(model, loss, numbers(6), classes(3))


@published("torchdiffeq", "neural ODE, rk4")
def neural_ode() -> Fields:
    from torchdiffeq import odeint

    class Field(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 2))

        def forward(self, t: Tensor, y: Tensor) -> Tensor:
            return self.net(y**3)  # type: ignore[no-any-return]  # a tensor

    model = Field()
    times = torch.linspace(0, 1, 4)
    return own_loss(
        model, lambda x, y: (odeint(model, x, times, method="rk4")[-1] - y).abs().mean(), numbers(2), numbers(2)
    )


@published("torchdiffeq", "neural ODE, dopri5 with an adaptive step")
def adaptive_ode() -> Fields:
    from torchdiffeq import odeint

    model = nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 2))
    times = torch.linspace(0, 1, 3)
    return own_loss(model, lambda x: odeint(lambda t, y: model(y), x, times)[-1].square().mean(), numbers(2))


@published("pytorch-tabnet", "TabNet network with its sparsity loss")
def tabnet() -> Fields:
    from pytorch_tabnet.tab_network import TabNet

    model = TabNet(6, 3, n_d=4, n_a=4, n_steps=2, virtual_batch_size=4, group_attention_matrix=torch.eye(6))

    def loss(x: Tensor, y: Tensor) -> Tensor:
        made, sparsity = model(x)
        return functional.cross_entropy(made, y) - 1e-3 * sparsity

    return own_loss(model, loss, numbers(6), classes(3))


@published("tab-transformer-pytorch", "FTTransformer")
def ft_transformer() -> Fields:
    from tab_transformer_pytorch import FTTransformer

    model = FTTransformer(categories=(5, 7), num_continuous=3, dim=16, dim_out=1, depth=1, heads=2)
    return own_loss(model, lambda c, x, y: functional.mse_loss(model(c, x), y), classes(5, 2), numbers(3), numbers(1))


@published("deepctr-torch", "DeepFM")
def deep_fm() -> Fields:
    from deepctr_torch.inputs import DenseFeat, SparseFeat
    from deepctr_torch.models import DeepFM

    columns = [SparseFeat("a", 5, 4), SparseFeat("b", 7, 4), DenseFeat("c", 1)]
    model = DeepFM(columns, columns, dnn_hidden_units=(8,), device="cpu")
    x = torch.cat([classes(5, 2).float(), numbers(1)], 1)
    return own_loss(model, lambda x, y: functional.binary_cross_entropy(model(x).squeeze(), y), x, classes(2).float())


@published("deepctr-torch", "xDeepFM, DCN")
def deep_cross() -> Fields:
    from deepctr_torch.inputs import DenseFeat, SparseFeat
    from deepctr_torch.models import DCN

    columns = [SparseFeat("a", 5, 4), SparseFeat("b", 7, 4), DenseFeat("c", 1)]
    model = DCN(columns, columns, dnn_hidden_units=(8,), device="cpu")
    x = torch.cat([classes(5, 2).float(), numbers(1)], 1)
    return own_loss(model, lambda x, y: functional.binary_cross_entropy(model(x).squeeze(), y), x, classes(2).float())


@published("pykan", "KAN")
def kan() -> Fields:
    from kan import KAN

    model = KAN(width=[2, 3, 1], grid=3, k=3, seed=0, auto_save=False)
    return supervised(model, numbers(2), numbers(1), functional.mse_loss, adamw)


@published("neuraloperator", "FNO")
def fno() -> Fields:
    from neuralop.models import FNO

    model = FNO(n_modes=(4, 4), in_channels=1, out_channels=1, hidden_channels=8, n_layers=1)
    return supervised(model, numbers(1, 8, 8), numbers(1, 8, 8), functional.mse_loss, adamw)


@published("e3nn", "fully connected tensor product")
def equivariant() -> Fields:
    from e3nn import o3

    model = o3.FullyConnectedTensorProduct("2x0e + 1x1o", "1x0e + 1x1o", "2x0e + 1x1o", compile_left_right=False, compile_right=False)  # fmt: skip
    return own_loss(model, lambda a, b: model(a, b).square().mean(), numbers(5), numbers(4))


@published("egnn-pytorch", "EGNN")
def egnn() -> Fields:
    from egnn_pytorch import EGNN

    model = EGNN(dim=8, m_dim=4)

    def loss(features: Tensor, places: Tensor) -> Tensor:
        made, moved = model(features, places)
        return made.square().mean() + (moved - places).square().mean()

    return own_loss(model, loss, numbers(6, 8), numbers(6, 3))


@published("invariant-point-attention", "InvariantPointAttention")
def point_attention() -> Fields:
    from invariant_point_attention import InvariantPointAttention

    model = InvariantPointAttention(dim=16, heads=2, scalar_key_dim=4, scalar_value_dim=4, point_key_dim=2, point_value_dim=2, require_pairwise_repr=False)  # fmt: skip
    rotations = torch.eye(3).expand(4, 6, 3, 3).contiguous()
    return own_loss(
        model, lambda x, t: model(x, rotations=rotations, translations=t).square().mean(), numbers(6, 16), numbers(6, 3)
    )


def _graph(layer: str, *arguments: Any, **settings: Any) -> None:
    @published("torch-geometric", layer)
    def make() -> Fields:
        from torch_geometric import nn as geometric

        generator = torch.Generator().manual_seed(5)
        edges = torch.randint(0, NODES, (2, EDGES), generator=generator)
        first = getattr(geometric, layer)(*arguments, **settings)
        model = nn.ModuleDict({"first": first, "head": nn.LazyLinear(3)})
        model["head"](first(torch.zeros(NODES, 6), edges))
        known = torch.arange(0, NODES, 2)

        def loss(x: Tensor, y: Tensor) -> Tensor:
            made = model["head"](functional.relu(model["first"](x, edges)))
            return functional.cross_entropy(made[known], y[known])

        return own_loss(model, loss, numbers(6, rows=NODES), classes(3, rows=NODES), batch=NODES)


_graph("GCNConv", 6, 8)
_graph("GATConv", 6, 4, heads=2, dropout=0.1)
_graph("GATv2Conv", 6, 4, heads=2)
_graph("SAGEConv", 6, 8)
_graph("GINConv", nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 8)))
_graph("ChebConv", 6, 8, K=2)
_graph("TransformerConv", 6, 4, heads=2)
_graph("GraphConv", 6, 8, aggr="max")
_graph("PNAConv", 6, 8, aggregators=["mean", "max", "std"], scalers=["identity"], deg=torch.tensor([0, 3, 5, 4]))
_graph("TAGConv", 6, 8)
_graph("GatedGraphConv", 8, 2)
_graph("GENConv", 6, 8)


@published("torch-geometric", "GCN with GraphNorm and global pooling")
def graph_pooling() -> Fields:
    from torch_geometric.nn import GCNConv, GraphNorm, global_max_pool, global_mean_pool

    edges = torch.randint(0, NODES, (2, EDGES), generator=torch.Generator().manual_seed(5))
    batch = torch.arange(NODES) // 4
    model = nn.ModuleDict({"a": GCNConv(6, 8), "n": GraphNorm(8), "b": GCNConv(8, 8), "head": nn.Linear(16, 2)})

    def loss(x: Tensor) -> Tensor:
        h = functional.relu(model["n"](model["a"](x, edges), batch, batch_size=3))
        h = model["b"](h, edges)
        pooled = torch.cat([global_mean_pool(h, batch, 3), global_max_pool(h, batch, 3)], 1)
        return functional.cross_entropy(model["head"](pooled), torch.tensor([0, 1, 0]))

    return own_loss(model, loss, numbers(6, rows=NODES), batch=NODES)


@published("labml-nn", "graph attention")
def labml_gat() -> Fields:
    from labml_nn.graphs.gat import GraphAttentionLayer

    model = GraphAttentionLayer(6, 8, n_heads=2, dropout=0.1)
    generator = torch.Generator().manual_seed(5)
    near = (torch.rand(NODES, NODES, 1, generator=generator) > 0.6) | torch.eye(NODES, dtype=torch.bool).unsqueeze(2)
    return own_loss(model, lambda x: model(x, near).square().mean(), numbers(6, rows=NODES), batch=NODES)


@published("labml-nn", "capsule routing, margin loss")
def labml_capsules() -> Fields:
    from labml_nn.capsule_networks import MarginLoss, Router, Squash

    model = nn.ModuleDict({"enter": nn.Linear(6, 24), "squash": Squash(), "router": Router(6, 3, 4, 4, 2)})
    criterion = MarginLoss(n_labels=3)

    def loss(x: Tensor, y: Tensor) -> Tensor:
        capsules = model["squash"](model["enter"](x).view(len(x), 6, 4))
        return criterion(model["router"](capsules), y)

    return own_loss(model, loss, numbers(6), classes(3))


@published("labml-nn", "hyper LSTM")
def labml_hyper() -> Fields:
    from labml_nn.hypernetworks.hyper_lstm import HyperLSTM

    model = HyperLSTM(4, 6, 3, 2, 1)
    return own_loss(model, lambda x: model(x.transpose(0, 1))[0].square().mean(), numbers(5, 4))


@published("labml-nn", "switch transformer's routing")
def labml_switch() -> Fields:
    from labml_nn.transformers.feed_forward import FeedForward
    from labml_nn.transformers.switch import SwitchFeedForward

    model = SwitchFeedForward(capacity_factor=1.2, drop_tokens=True, is_scale_prob=True, n_experts=2, expert=FeedForward(8, 16), d_model=8)  # fmt: skip
    return own_loss(model, lambda x: model(x)[0].square().mean(), numbers(6, 8))


def _attention(name: str, module: str, cls: str, *arguments: Any, **settings: Any) -> None:
    @published("labml-nn", name)
    def make() -> Fields:
        import importlib

        layer = getattr(importlib.import_module(f"labml_nn.transformers.{module}"), cls)(*arguments, **settings)

        def loss(x: Tensor) -> Tensor:
            x = x.transpose(0, 1)
            made: Tensor = layer(query=x, key=x, value=x, mask=None)
            return made.square().mean()

        return own_loss(layer, loss, numbers(6, 16))


_attention("multi-head attention", "mha", "MultiHeadAttention", 2, 16)
_attention("rotary attention", "rope", "RotaryPEMultiHeadAttention", 2, 16, 0.5, 0.0)
_attention("relative attention", "xl.relative_mha", "RelativeMultiHeadAttention", 2, 16)
_attention("ALiBi attention", "alibi", "AlibiMultiHeadAttention", 2, 16)
_attention("attention-free, local", "aft", "AFTLocal", 16, 6, 3)


@published("pytorch-metric-learning", "triplet margin loss with mining")
def metric_learning() -> Fields:
    from pytorch_metric_learning import losses, miners

    model = nn.Linear(6, 4)
    criterion, miner = losses.TripletMarginLoss(), miners.MultiSimilarityMiner()
    return supervised(model, numbers(6), classes(2), lambda made, y: criterion(made, y, miner(made, y)), adamw)


@published("pytorch-metric-learning", "ArcFace loss")
def arcface() -> Fields:
    from pytorch_metric_learning import losses

    body, criterion = nn.Linear(6, 4), losses.ArcFaceLoss(3, 4)
    model = nn.ModuleDict({"body": body, "loss": criterion})
    return own_loss(model, lambda x, y: criterion(body(x), y), numbers(6), classes(3))


@published("pytorch-metric-learning", "NT-Xent loss")
def nt_xent() -> Fields:
    from pytorch_metric_learning import losses

    model, criterion = nn.Linear(6, 4), losses.SelfSupervisedLoss(losses.NTXentLoss())
    return own_loss(model, lambda x: criterion(model(x), model(x * 0.9)), numbers(6))


@published("entmax", "sparsemax and entmax losses")
def entmax() -> Fields:
    from entmax import entmax15, sparsemax_loss

    model = nn.Linear(6, 4)
    return supervised(model, numbers(6), classes(4), lambda made, y: sparsemax_loss(made, y).mean() + entmax15(made, 1).square().mean(), adamw)  # fmt: skip


@published("gpytorch", "exact Gaussian process")
def gaussian_process() -> Fields:
    import gpytorch

    x, y = numbers(1, rows=ROWS), numbers(1, rows=ROWS).squeeze(1)

    class Exact(gpytorch.models.ExactGP):  # type: ignore[misc]  # gpytorch is untyped
        def __init__(self, likelihood: Any) -> None:
            super().__init__(x, y, likelihood)
            self.mean_module = gpytorch.means.ConstantMean()
            self.covar_module = gpytorch.kernels.ScaleKernel(gpytorch.kernels.RBFKernel())

        def forward(self, x: Tensor) -> Any:
            return gpytorch.distributions.MultivariateNormal(self.mean_module(x), self.covar_module(x))

    likelihood = gpytorch.likelihoods.GaussianLikelihood()
    model = Exact(likelihood)
    model.train()
    criterion = gpytorch.mlls.ExactMarginalLogLikelihood(likelihood, model)
    return own_loss(model, lambda rows: -criterion(model(x), y) + 0 * rows.sum(), x, batch=ROWS)


@published("pyro-ppl", "stochastic variational inference by hand")
def pyro_svi() -> Fields:
    import pyro
    from pyro import distributions as dist

    mean, scale = nn.Parameter(torch.zeros(2)), nn.Parameter(torch.zeros(2))
    model = nn.ParameterList([mean, scale])

    def loss(x: Tensor) -> Tensor:
        guide = dist.Normal(mean, scale.exp())
        sample = guide.rsample()
        likelihood = dist.Normal(sample, 1.0).log_prob(x).sum()
        return -(likelihood + dist.Normal(0.0, 1.0).log_prob(sample).sum() - guide.log_prob(sample).sum())

    assert pyro is not None
    return own_loss(model, loss, numbers(2))


@published("torch-geometric", "SplineConv")
def no_extension() -> Fields:
    from torch_geometric.nn import SplineConv

    edges = torch.randint(0, NODES, (2, EDGES), generator=torch.Generator().manual_seed(5))
    model = SplineConv(6, 8, dim=2, kernel_size=3)
    features = torch.rand(EDGES, 2, generator=torch.Generator().manual_seed(6))
    return own_loss(model, lambda x: model(x, edges, features).square().mean(), numbers(6, rows=NODES), batch=NODES)


@published("d2l", "Seq2SeqEncoder, masked softmax cross entropy")
def d2l_sequence() -> Fields:
    from d2l import torch as d2l

    model = nn.ModuleDict({"body": d2l.Seq2SeqEncoder(11, 8, 8, 1), "head": nn.Linear(8, 11)})

    def loss(x: Tensor, y: Tensor) -> Tensor:
        made = model["head"](model["body"](x)[0]).transpose(0, 1)
        return functional.cross_entropy(made.transpose(1, 2), y)

    return own_loss(model, loss, classes(11, 6), classes(11, 6))


@published("stable-baselines3", "PPO's update of an actor-critic policy")
def ppo() -> Fields:
    import numpy as np
    from gymnasium import spaces
    from stable_baselines3.common.policies import ActorCriticPolicy

    policy = ActorCriticPolicy(spaces.Box(-1, 1, (4,), np.float32), spaces.Discrete(3), lambda _: 1e-3, net_arch=[8])
    optimizer = policy.optimizer

    def step(seen: Tensor, actions: Tensor, old: Tensor, advantages: Tensor, returns: Tensor) -> Tensor:
        values, log_prob, entropy = policy.evaluate_actions(seen, actions)
        advantages = (advantages - advantages.mean()) / (advantages.std() + 1e-8)
        ratio = torch.exp(log_prob - old)
        clipped = advantages * torch.clamp(ratio, 0.8, 1.2)
        loss = -torch.min(advantages * ratio, clipped).mean() - 0.01 * entropy.mean()
        loss = loss + 0.5 * functional.mse_loss(returns, values.flatten())
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(policy.parameters(), 0.5)
        optimizer.step()
        return loss

    return stepped(policy, optimizer, step, numbers(4), classes(3), -numbers().abs(), numbers(), numbers() * 2)


@published("pytorch-forecasting", "GatedResidualNetwork, quantile loss")
def forecasting() -> Fields:
    from pytorch_forecasting.metrics import QuantileLoss
    from pytorch_forecasting.models.temporal_fusion_transformer.sub_modules import (
        GatedResidualNetwork,
        InterpretableMultiHeadAttention,
    )

    model = nn.ModuleDict({
        "enter": GatedResidualNetwork(6, 8, 8, dropout=0.0),
        "attend": InterpretableMultiHeadAttention(n_head=2, d_model=8, dropout=0.0),
        "head": nn.Linear(8, 3),
    })  # fmt: skip
    quantile = QuantileLoss([0.1, 0.5, 0.9])

    def loss(x: Tensor, y: Tensor) -> Tensor:
        h = model["enter"](x)
        made = model["head"](model["attend"](h, h, h)[0])
        return quantile.loss(made, y).mean()

    return own_loss(model, loss, numbers(5, 6), numbers(5), optimizer=sgd)
