"""Published language models."""

# Configurations stand in a line each.
# ruff: noqa: E501
from __future__ import annotations

from typing import Any

import torch
from published_cases import Fields, adamw, classes, images, numbers, own_loss, published, stepped, supervised
from torch import Tensor, nn
from torch.nn import functional

WORDS, LENGTH = 64, 12
SIZE = {
    "vocab_size": WORDS,
    "hidden_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 48,
}
NO_ENDS = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}

# Causal language models: class, configuration, and what differs from SIZE.
CAUSAL: dict[str, dict[str, Any]] = {
    "GPT2": {"vocab_size": WORDS, "n_embd": 32, "n_layer": 1, "n_head": 2, "n_positions": 32},
    "GPTNeoX": {**SIZE, **NO_ENDS},
    "GPTJ": {"vocab_size": WORDS, "n_embd": 32, "n_layer": 1, "n_head": 2, "n_positions": 32, "rotary_dim": 8, **NO_ENDS},
    "GPTNeo": {"vocab_size": WORDS, "hidden_size": 32, "num_layers": 2, "num_heads": 2, "attention_types": [[["global", "local"], 1]], "window_size": 4, "max_position_embeddings": 32, **NO_ENDS},
    "OPT": {"vocab_size": WORDS, "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "ffn_dim": 48, "word_embed_proj_dim": 32, "max_position_embeddings": 32, **NO_ENDS},
    "Bloom": {"vocab_size": WORDS, "hidden_size": 32, "n_layer": 1, "n_head": 2, **NO_ENDS},
    "Llama": {**SIZE, "num_key_value_heads": 1, **NO_ENDS},
    "Mistral": {**SIZE, "num_key_value_heads": 1, "sliding_window": 4, **NO_ENDS},
    "Mixtral": {**SIZE, "num_key_value_heads": 1, "num_local_experts": 4, "output_router_logits": True, **NO_ENDS},
    "Qwen2": {**SIZE, "num_key_value_heads": 1, **NO_ENDS},
    "Qwen2Moe": {**SIZE, "num_key_value_heads": 1, "num_experts": 4, "moe_intermediate_size": 16, "shared_expert_intermediate_size": 16, **NO_ENDS},
    "Qwen3": {**SIZE, "num_key_value_heads": 1, "head_dim": 16, **NO_ENDS},
    "Gemma": {**SIZE, "num_key_value_heads": 1, "head_dim": 16, **NO_ENDS},
    "Gemma2": {**SIZE, "num_key_value_heads": 1, "head_dim": 16, "sliding_window": 4, **NO_ENDS},
    "Phi": {**SIZE, **NO_ENDS},
    "Phi3": {**SIZE, **NO_ENDS},
    "StableLm": {**SIZE, "num_key_value_heads": 1, **NO_ENDS},
    "Falcon": {"vocab_size": WORDS, "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "alibi": True, **NO_ENDS},
    "Mamba": {"vocab_size": WORDS, "hidden_size": 16, "num_hidden_layers": 1, "state_size": 4, **NO_ENDS},
    "Mamba2": {"vocab_size": WORDS, "hidden_size": 16, "num_hidden_layers": 1, "state_size": 8, "num_heads": 4, "head_dim": 8, "n_groups": 1, "chunk_size": 4, **NO_ENDS},
    "Rwkv": {"vocab_size": WORDS, "hidden_size": 16, "num_hidden_layers": 1, "attention_hidden_size": 16, "context_length": 32, **NO_ENDS},
    "Olmo": {**SIZE, **NO_ENDS},
    "Cohere": {**SIZE, "num_key_value_heads": 1, **NO_ENDS},
    "DeepseekV3": {**SIZE, "moe_intermediate_size": 16, "n_routed_experts": 4, "n_group": 2, "topk_group": 1, "num_experts_per_tok": 2, "q_lora_rank": 8, "kv_lora_rank": 8, "qk_rope_head_dim": 8, "qk_nope_head_dim": 8, "v_head_dim": 8, "first_k_dense_replace": 1, **NO_ENDS},
    "RecurrentGemma": {**SIZE, "num_key_value_heads": 1, "head_dim": 16, "lru_width": 32, "attention_window_size": 8, **NO_ENDS},
    "XGLM": {"vocab_size": WORDS, "d_model": 32, "num_layers": 2, "attention_heads": 2, "ffn_dim": 48, **NO_ENDS},
    "CTRL": {"vocab_size": WORDS, "n_embd": 32, "n_layer": 1, "n_head": 2, "dff": 48, "n_positions": 32, **NO_ENDS},
}  # fmt: skip


def _tokens() -> Tensor:
    return classes(WORDS - 4, LENGTH) + 4


def _hugging(label: str, cls: str, config: str, settings: dict[str, Any], *data: Any, names: tuple[str, ...]) -> None:
    @published("transformers", label)
    def make() -> Fields:
        import transformers

        model = getattr(transformers, cls)(getattr(transformers, config)(**settings))
        model.train()

        def loss(*rows: Tensor) -> Tensor:
            made = model(**dict(zip(names, rows, strict=True)))
            return made.loss

        return own_loss(model, loss, *(make() for make in data))


for _family, _settings in CAUSAL.items():
    _end = "LMHeadModel" if _family in ("GPT2", "CTRL") else "ForCausalLM"
    _hugging(
        f"{_family}{_end}", f"{_family}{_end}", f"{_family}Config", _settings, _tokens, _tokens, names=("input_ids", "labels")
    )  # fmt: skip

_two = ("input_ids", "labels")
_enc = {"vocab_size": WORDS, "d_model": 32, "encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 2, "decoder_attention_heads": 2, "encoder_ffn_dim": 48, "decoder_ffn_dim": 48, "max_position_embeddings": 32, **NO_ENDS, "decoder_start_token_id": 1}  # fmt: skip
_hugging("BertForMaskedLM", "BertForMaskedLM", "BertConfig", SIZE, _tokens, _tokens, names=_two)
_hugging("RobertaForMaskedLM", "RobertaForMaskedLM", "RobertaConfig", SIZE | NO_ENDS, _tokens, _tokens, names=_two)
_hugging("DistilBertForMaskedLM", "DistilBertForMaskedLM", "DistilBertConfig", {"vocab_size": WORDS, "dim": 32, "n_layers": 2, "n_heads": 2, "hidden_dim": 48}, _tokens, _tokens, names=_two)  # fmt: skip
_hugging(
    "AlbertForMaskedLM",
    "AlbertForMaskedLM",
    "AlbertConfig",
    SIZE | {"embedding_size": 16},
    _tokens,
    _tokens,
    names=_two,
)
_hugging("ElectraForPreTraining", "ElectraForPreTraining", "ElectraConfig", SIZE | {"embedding_size": 16}, _tokens, lambda: classes(2, LENGTH), names=_two)  # fmt: skip
_hugging("DebertaV2ForMaskedLM", "DebertaV2ForMaskedLM", "DebertaV2Config", SIZE | {"relative_attention": True, "pos_att_type": ["p2c", "c2p"], "position_buckets": 8}, _tokens, _tokens, names=_two)  # fmt: skip
_hugging("ModernBertForMaskedLM", "ModernBertForMaskedLM", "ModernBertConfig", SIZE | NO_ENDS | {"cls_token_id": 1, "sep_token_id": 2}, _tokens, _tokens, names=_two)  # fmt: skip
_hugging("FNetForMaskedLM", "FNetForMaskedLM", "FNetConfig", {"vocab_size": WORDS, "hidden_size": 32, "num_hidden_layers": 1, "intermediate_size": 48}, _tokens, _tokens, names=_two)  # fmt: skip
_hugging(
    "ConvBertForMaskedLM",
    "ConvBertForMaskedLM",
    "ConvBertConfig",
    SIZE | {"embedding_size": 16},
    _tokens,
    _tokens,
    names=_two,
)
_hugging("XLNetLMHeadModel", "XLNetLMHeadModel", "XLNetConfig", {"vocab_size": WORDS, "d_model": 32, "n_layer": 1, "n_head": 2, "d_inner": 48}, _tokens, _tokens, names=_two)  # fmt: skip
_hugging("BertForSequenceClassification", "BertForSequenceClassification", "BertConfig", SIZE | {"num_labels": 3}, _tokens, lambda: classes(3), names=_two)  # fmt: skip
_hugging("LongformerForMaskedLM", "LongformerForMaskedLM", "LongformerConfig", SIZE | NO_ENDS | {"attention_window": 4, "max_position_embeddings": 40}, _tokens, _tokens, names=_two)  # fmt: skip
_hugging("BigBirdForMaskedLM", "BigBirdForMaskedLM", "BigBirdConfig", SIZE | NO_ENDS | {"attention_type": "original_full", "max_position_embeddings": 40}, _tokens, _tokens, names=_two)  # fmt: skip
_hugging("T5ForConditionalGeneration", "T5ForConditionalGeneration", "T5Config", {"vocab_size": WORDS, "d_model": 32, "d_kv": 16, "d_ff": 48, "num_layers": 1, "num_heads": 2, "decoder_start_token_id": 0}, _tokens, _tokens, names=_two)  # fmt: skip
_hugging(
    "BartForConditionalGeneration", "BartForConditionalGeneration", "BartConfig", _enc, _tokens, _tokens, names=_two
)
_hugging(
    "PegasusForConditionalGeneration",
    "PegasusForConditionalGeneration",
    "PegasusConfig",
    _enc,
    _tokens,
    _tokens,
    names=_two,
)
_hugging("ProphetNetForConditionalGeneration", "ProphetNetForConditionalGeneration", "ProphetNetConfig", {"vocab_size": WORDS, "hidden_size": 32, "num_encoder_layers": 1, "num_decoder_layers": 1, "num_encoder_attention_heads": 2, "num_decoder_attention_heads": 2, "encoder_ffn_dim": 32, "decoder_ffn_dim": 32, "ngram": 2, "decoder_start_token_id": 1, **NO_ENDS}, _tokens, _tokens, names=_two)  # fmt: skip
_vision = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 48, "image_size": 32, "patch_size": 8, "num_labels": 10}  # fmt: skip
_pixels = ("pixel_values", "labels")
_hugging("ViTForImageClassification", "ViTForImageClassification", "ViTConfig", _vision, images, classes, names=_pixels)
_hugging("ViTMAEForPreTraining", "ViTMAEForPreTraining", "ViTMAEConfig", _vision | {"decoder_hidden_size": 16, "decoder_num_hidden_layers": 1, "decoder_num_attention_heads": 2, "decoder_intermediate_size": 32}, images, names=("pixel_values",))  # fmt: skip
_hugging("Swinv2ForImageClassification", "Swinv2ForImageClassification", "Swinv2Config", {"image_size": 32, "patch_size": 4, "embed_dim": 16, "depths": [1, 1], "num_heads": [1, 2], "window_size": 4, "num_labels": 10}, images, classes, names=_pixels)  # fmt: skip
_hugging("ConvNextForImageClassification", "ConvNextForImageClassification", "ConvNextConfig", {"hidden_sizes": [8, 16], "depths": [1, 1], "num_stages": 2, "num_labels": 10}, images, classes, names=_pixels)  # fmt: skip
_hugging("SegformerForSemanticSegmentation", "SegformerForSemanticSegmentation", "SegformerConfig", {"hidden_sizes": [8, 16, 16, 16], "depths": [1, 1, 1, 1], "num_attention_heads": [1, 1, 2, 2], "decoder_hidden_size": 16, "num_labels": 5}, lambda: images(64), lambda: classes(5, 64, 64), names=_pixels)  # fmt: skip
_hugging("ResNetForImageClassification", "ResNetForImageClassification", "ResNetConfig", {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1], "num_labels": 10}, images, classes, names=_pixels)  # fmt: skip
_audio = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 48, "conv_dim": [16, 16], "conv_stride": [4, 4], "conv_kernel": [8, 4], "num_feat_extract_layers": 2, "num_conv_pos_embeddings": 8, "num_conv_pos_embedding_groups": 2, "vocab_size": 12, "apply_spec_augment": False}  # fmt: skip
_hugging("Wav2Vec2ForCTC", "Wav2Vec2ForCTC", "Wav2Vec2Config", _audio, lambda: numbers(400), lambda: classes(10, 5) + 1, names=("input_values", "labels"))  # fmt: skip
_hugging("HubertForSequenceClassification", "HubertForSequenceClassification", "HubertConfig", _audio | {"num_labels": 3}, lambda: numbers(400), lambda: classes(3), names=("input_values", "labels"))  # fmt: skip
_hugging("WhisperForConditionalGeneration", "WhisperForConditionalGeneration", "WhisperConfig", _enc | {"num_mel_bins": 8, "max_source_positions": 10, "max_target_positions": 32}, lambda: numbers(8, 20), _tokens, names=("input_features", "labels"))  # fmt: skip
_hugging("PatchTSTForPrediction", "PatchTSTForPrediction", "PatchTSTConfig", {"context_length": 16, "patch_length": 4, "patch_stride": 4, "prediction_length": 4, "num_input_channels": 2, "d_model": 16, "ffn_dim": 16, "num_attention_heads": 2, "num_hidden_layers": 1}, lambda: numbers(16, 2), lambda: numbers(4, 2), names=("past_values", "future_values"))  # fmt: skip
_hugging("PatchTSMixerForPrediction", "PatchTSMixerForPrediction", "PatchTSMixerConfig", {"context_length": 16, "patch_length": 4, "patch_stride": 4, "prediction_length": 4, "num_input_channels": 2, "d_model": 8, "num_layers": 1}, lambda: numbers(16, 2), lambda: numbers(4, 2), names=("past_values", "future_values"))  # fmt: skip


@published("transformers", "GPT2, Adafactor of transformers, cosine schedule with warm-up, clipping")
def gpt2_recipe() -> Fields:
    import transformers

    model = transformers.GPT2LMHeadModel(transformers.GPT2Config(**CAUSAL["GPT2"]))
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    scheduler = transformers.get_cosine_schedule_with_warmup(optimizer, 2, 10)

    def step(tokens: Tensor) -> Tensor:
        loss = model(input_ids=tokens, labels=tokens).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        scheduler.step()
        optimizer.zero_grad()
        return loss

    return stepped(model, optimizer, step, _tokens())


@published("transformers", "GPT2, gradient checkpointing")
def gpt2_checkpointing() -> Fields:
    import transformers

    model = transformers.GPT2LMHeadModel(transformers.GPT2Config(**CAUSAL["GPT2"]))
    model.gradient_checkpointing_enable()
    model.train()
    return own_loss(model, lambda tokens: model(input_ids=tokens, labels=tokens).loss, _tokens())


@published("transformers", "GPT2, bfloat16 autocast")
def gpt2_autocast() -> Fields:
    import transformers

    model = transformers.GPT2LMHeadModel(transformers.GPT2Config(**CAUSAL["GPT2"]))
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)

    def step(tokens: Tensor) -> Tensor:
        optimizer.zero_grad()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = model(input_ids=tokens, labels=tokens).loss
        loss.backward()
        optimizer.step()
        return loss

    return stepped(model, optimizer, step, _tokens())


@published("transformers", "Bert with an attention mask of padding")
def bert_padding() -> Fields:
    import transformers

    model = transformers.BertForSequenceClassification(transformers.BertConfig(**SIZE, num_labels=3))
    model.train()
    mask = (torch.arange(LENGTH) < 1 + classes(LENGTH).unsqueeze(1)).long()
    return own_loss(
        model, lambda t, m, y: model(input_ids=t, attention_mask=m, labels=y).loss, _tokens(), mask, classes(3)
    )


@published("peft", "LoRA on GPT2")
def lora() -> Fields:
    import peft
    import transformers

    model = transformers.GPT2LMHeadModel(transformers.GPT2Config(**CAUSAL["GPT2"]))
    model = peft.get_peft_model(
        model, peft.LoraConfig(r=2, lora_alpha=4, target_modules=["c_attn"], fan_in_fan_out=True)
    )
    model.train()
    return own_loss(model, lambda tokens: model(input_ids=tokens, labels=tokens).loss, _tokens())


@published("loralib", "a layer with LoRA")
def lora_layer() -> Fields:
    import loralib

    model = nn.Sequential(
        loralib.Linear(12, 8, r=2), nn.ReLU(), loralib.MergedLinear(8, 9, r=2, enable_lora=[True, False, True])
    )
    loralib.mark_only_lora_as_trainable(model)
    return supervised(model, numbers(12), numbers(9), functional.mse_loss, lambda p: torch.optim.AdamW([q for q in p if q.requires_grad]))  # fmt: skip


@published("sentence-transformers", "MultipleNegativesRankingLoss's step")
def sentences() -> Fields:
    import transformers
    from sentence_transformers import util

    model = transformers.BertModel(transformers.BertConfig(**SIZE))
    model.train()

    def loss(a: Tensor, b: Tensor) -> Tensor:
        first, second = (model(input_ids=tokens).last_hidden_state.mean(1) for tokens in (a, b))
        scores = util.cos_sim(first, second) * 20.0
        return functional.cross_entropy(scores, torch.arange(len(a)))

    return own_loss(model, loss, _tokens(), _tokens().flip(1))


def _x(label: str, **settings: Any) -> None:
    @published("x-transformers", label)
    def make() -> Fields:
        from x_transformers import AutoregressiveWrapper, Decoder, TransformerWrapper

        decoder = Decoder(dim=32, depth=2, heads=2, attn_dim_head=16, **settings)
        model = AutoregressiveWrapper(TransformerWrapper(num_tokens=WORDS, max_seq_len=LENGTH, attn_layers=decoder))
        return own_loss(model, model, _tokens())


_x("AutoregressiveWrapper")
_x("rotary, RMSNorm, SwiGLU", rotary_pos_emb=True, use_rmsnorm=True, ff_glu=True, ff_swish=True)
_x("ALiBi, talking heads", alibi_pos_bias=True, alibi_num_heads=2, attn_pre_talking_heads=True)
_x("T5 relative bias, sandwich norm, dropout", rel_pos_bias=True, sandwich_norm=True, attn_dropout=0.1, ff_dropout=0.1)
_x("flash attention, key norm", attn_flash=True, attn_qk_norm=True)
_x("layer dropout, stochastic depth", layer_dropout=0.1)
_x("gated residual, shifted tokens, memories", gate_residual=True, shift_tokens=1, attn_num_mem_kv=2)
_x("sparse topk attention, sigmoid gates", attn_sparse_topk=3, attn_gate_values=True)
_x("hyper connections", num_residual_streams=2)


@published("x-transformers", "NonAutoregressiveWrapper")
def x_nonautoregressive() -> Fields:
    from x_transformers import Encoder, NonAutoregressiveWrapper, TransformerWrapper

    net = TransformerWrapper(num_tokens=WORDS + 1, max_seq_len=LENGTH, attn_layers=Encoder(dim=32, depth=1, heads=2))
    model = NonAutoregressiveWrapper(net, mask_id=WORDS)
    return own_loss(model, lambda tokens: model(tokens).loss, _tokens())


@published("x-transformers", "XTransformer, encoder and decoder")
def x_encoder_decoder() -> Fields:
    from x_transformers import XTransformer

    model = XTransformer(
        dim=32, enc_num_tokens=WORDS, enc_depth=1, enc_heads=2, enc_max_seq_len=LENGTH, dec_num_tokens=WORDS,
        dec_depth=1, dec_heads=2, dec_max_seq_len=LENGTH, tie_token_emb=True,
    )  # fmt: skip
    return own_loss(model, model, _tokens(), _tokens().flip(1))


@published("x-transformers", "ContinuousTransformerWrapper")
def x_continuous() -> Fields:
    from x_transformers import ContinuousTransformerWrapper, Encoder

    model = ContinuousTransformerWrapper(
        dim_in=6, dim_out=3, max_seq_len=LENGTH, attn_layers=Encoder(dim=32, depth=1, heads=2)
    )
    return supervised(model, numbers(LENGTH, 6), numbers(LENGTH, 3), functional.mse_loss, adamw)


@published("performer-pytorch", "PerformerLM")
def performer() -> Fields:
    from performer_pytorch import PerformerLM

    model = PerformerLM(num_tokens=WORDS, max_seq_len=LENGTH, dim=32, depth=1, heads=2, dim_head=16, causal=False)
    return own_loss(model, lambda t: functional.cross_entropy(model(t).transpose(1, 2), t), _tokens())


@published("linformer", "LinformerLM")
def linformer() -> Fields:
    from linformer import LinformerLM

    model = LinformerLM(num_tokens=WORDS, dim=32, seq_len=LENGTH, depth=1, heads=2, k=4)
    return own_loss(model, lambda t: functional.cross_entropy(model(t).transpose(1, 2), t), _tokens())


@published("reformer-pytorch", "ReformerLM")
def reformer() -> Fields:
    from reformer_pytorch import ReformerLM

    model = ReformerLM(
        num_tokens=WORDS, dim=32, depth=1, max_seq_len=16, heads=2, bucket_size=4, n_hashes=2, causal=True
    )
    return own_loss(model, lambda t: functional.cross_entropy(model(t).transpose(1, 2), t), classes(WORDS, 16))


@published("nystrom-attention", "Nystromformer")
def nystrom() -> Fields:
    from nystrom_attention import Nystromformer

    model = Nystromformer(dim=16, dim_head=8, heads=2, depth=1, num_landmarks=4, pinv_iterations=3)
    return supervised(model, numbers(LENGTH, 16), numbers(LENGTH, 16), functional.mse_loss, adamw)


@published("local-attention", "LocalTransformer")
def local_attention() -> Fields:
    from local_attention import LocalTransformer

    model = LocalTransformer(num_tokens=WORDS, dim=32, depth=1, max_seq_len=LENGTH, local_attn_window_size=4, heads=2)
    return own_loss(model, lambda t: model(t, return_loss=True), _tokens())


@published("sinkhorn-transformer", "SinkhornTransformerLM")
def sinkhorn() -> Fields:
    from sinkhorn_transformer import SinkhornTransformerLM

    model = SinkhornTransformerLM(num_tokens=WORDS, dim=32, heads=2, depth=1, max_seq_len=16, bucket_size=4)
    return own_loss(model, lambda t: functional.cross_entropy(model(t).transpose(1, 2), t), classes(WORDS, 16))


@published("routing-transformer", "RoutingTransformerLM")
def routing() -> Fields:
    from routing_transformer import RoutingTransformerLM

    model = RoutingTransformerLM(num_tokens=WORDS, dim=32, heads=2, depth=1, max_seq_len=16, window_size=4)

    def loss(tokens: Tensor) -> Tensor:
        made, extra = model(tokens)
        return functional.cross_entropy(made.transpose(1, 2), tokens) + extra

    return own_loss(model, loss, classes(WORDS, 16))


@published("memory-efficient-attention-pytorch", "Transformer")
def memory_efficient() -> Fields:
    from memory_efficient_attention_pytorch.transformer import Transformer

    model = Transformer(num_tokens=WORDS, dim=32, depth=1, dim_head=16, heads=2, max_seq_len=LENGTH, causal=True)
    return own_loss(model, lambda t: functional.cross_entropy(model(t).transpose(1, 2), t), _tokens())


@published("palm-rlhf-pytorch", "PaLM")
def palm() -> Fields:
    from palm_rlhf_pytorch import PaLM

    model = PaLM(num_tokens=WORDS, dim=32, depth=1, dim_head=16, heads=2)
    return own_loss(model, lambda t: model(t, return_loss=True), _tokens())


@published("soft-moe-pytorch", "SoftMoE")
def soft_moe() -> Fields:
    from soft_moe_pytorch import SoftMoE

    model = SoftMoE(dim=16, seq_len=LENGTH, num_experts=3)
    return supervised(model, numbers(LENGTH, 16), numbers(LENGTH, 16), functional.mse_loss, adamw)


@published("mixture-of-experts", "MoE, top-2 gating with a capacity")
def moe() -> Fields:
    from mixture_of_experts import MoE

    model = MoE(dim=16, num_experts=4, hidden_dim=16)

    def loss(x: Tensor, y: Tensor) -> Tensor:
        made, extra = model(x)
        return functional.mse_loss(made, y) + extra

    return own_loss(model, loss, numbers(LENGTH, 16), numbers(LENGTH, 16))


@published("product-key-memory", "PKM")
def key_memory() -> Fields:
    from product_key_memory import PKM

    model = PKM(dim=16, heads=2, num_keys=8, topk=4, dim_head=16)
    return supervised(model, numbers(LENGTH, 16), numbers(LENGTH, 16), functional.mse_loss, adamw)


@published("colt5-attention", "ConditionalRoutedTransformerBlock")
def colt5() -> Fields:
    from colt5_attention import ConditionalRoutedTransformerBlock

    model = ConditionalRoutedTransformerBlock(
        16, num_heavy_ff_tokens=4, num_heavy_attn_tokens_q=4, num_heavy_attn_tokens_kv=4, light_window_size=4
    )
    return supervised(model, numbers(LENGTH, 16), numbers(LENGTH, 16), functional.mse_loss, adamw)


@published("minGRU-pytorch", "minGRULM")
def min_gru() -> Fields:
    from minGRU_pytorch import minGRULM

    model = minGRULM(num_tokens=WORDS, dim=16, depth=2)
    return own_loss(model, lambda t: model(t, return_loss=True), _tokens())


@published("mambapy", "Mamba")
def mamba() -> Fields:
    from mambapy.mamba import Mamba, MambaConfig

    model = Mamba(MambaConfig(d_model=16, n_layers=1))
    return supervised(model, numbers(LENGTH, 16), numbers(LENGTH, 16), functional.mse_loss, adamw)


@published("titans-pytorch", "MemoryAsContextTransformer")
def titans() -> Fields:
    from titans_pytorch import MemoryAsContextTransformer

    model = MemoryAsContextTransformer(
        num_tokens=WORDS,
        dim=16,
        depth=1,
        segment_len=4,
        num_persist_mem_tokens=2,
        num_longterm_mem_tokens=2,
        heads=2,
        dim_head=8,
    )
    return own_loss(model, lambda t: model(t, return_loss=True), _tokens())


@published("xlstm", "xLSTMBlockStack")
def xlstm() -> Fields:
    from xlstm import mLSTMBlockConfig, mLSTMLayerConfig, xLSTMBlockStack, xLSTMBlockStackConfig

    block = mLSTMBlockConfig(mlstm=mLSTMLayerConfig(conv1d_kernel_size=4, qkv_proj_blocksize=4, num_heads=2))
    model = xLSTMBlockStack(
        xLSTMBlockStackConfig(mlstm_block=block, context_length=LENGTH, num_blocks=1, embedding_dim=16, slstm_at=[])
    )
    return supervised(model, numbers(LENGTH, 16), numbers(LENGTH, 16), functional.mse_loss, adamw)
