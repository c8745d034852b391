"""Methods that are wrong in one way each; `WRONG` names the check that has to find it."""

from __future__ import annotations

import copy
from typing import Literal

import torch
from torch import nn

from unlearnbench.api import MethodSpec, Training, UnlearningMethod, decoder_blocks, hookimpl, train_only


class Right(UnlearningMethod):
    """Nothing is wrong with it: ascend on forget texts, descend on retain texts."""

    def __init__(self, model, *, lr: float = 0.05, adapter: Literal["none", "lora"] = "none") -> None:
        super().__init__(model)
        self.save_hyperparameters(ignore=["model"])
        self.lr = lr
        self.use_adapter(adapter, 2)

    def loss(self, batch) -> torch.Tensor:
        return self.nll(batch["retain"]) - self.nll(batch["forget"])

    def training_step(self, batch, batch_idx):
        return self.loss(batch)

    def configure_optimizers(self):
        return torch.optim.SGD(self.trainable(), lr=self.lr)


class Undocumented(Right): ...


class NeedsAnOption(Right):
    """Has an option without a default."""

    def __init__(self, model, *, lr: float) -> None:
        super().__init__(model, lr=lr)


class RecordsNothing(Right):
    """Forgets to record its options."""

    def __init__(self, model, *, lr: float = 0.05) -> None:
        UnlearningMethod.__init__(self, model)
        self.lr = lr


class Stops(Right):
    """Raises in its second update."""

    def training_step(self, batch, batch_idx):
        if batch_idx == 1:
            raise RuntimeError("out of luck")
        return self.loss(batch)


class NotANumber(Right):
    """Its loss is no number."""

    def loss(self, batch):
        return super().loss(batch) * float("nan")


class Idle(Right):
    """Its updates have no size."""

    def configure_optimizers(self):
        return torch.optim.SGD(self.trainable(), lr=0.0)


class Remembers(Right):
    """Every run of the process is a little stronger than the one before."""

    runs = 0

    def on_fit_start(self):
        self.strength = 1 + 1e-4 * type(self).runs
        type(self).runs += 1

    def loss(self, batch):
        return self.strength * super().loss(batch)


class Hashes(Right):
    """Depends on hash(), which is another one in every process."""

    def loss(self, batch):
        return (1 + hash("unlearn") % 1000 * 1e-6) * super().loss(batch)


class Adds(Right):
    """Leaves a new tensor in the model."""

    def on_train_end(self):
        self.model.register_parameter("extra", nn.Parameter(torch.zeros(2)))


class Meddles(Right):
    """Changes a weight that it did not declare."""

    def __init__(self, model, *, lr: float = 0.05) -> None:
        super().__init__(model, lr=lr)
        train_only(model, {"last": next(decoder_blocks(model)[1][-1].parameters())})

    def on_train_end(self):
        with torch.no_grad():
            next(decoder_blocks(self.model)[1][0].parameters()).mul_(0.5)


class Hooks(Right):
    """Leaves a hook."""

    def on_fit_start(self):
        self.model.register_forward_hook(lambda *_: None)


class Freezes(Right):
    """Switches gradients off for good."""

    def on_train_end(self):
        self.model.requires_grad_(False)


class Seeds(Right):
    """Seeds torch's generator."""

    def on_fit_start(self):
        torch.manual_seed(0)


class Widens(Right):
    """Leaves another default dtype."""

    def on_train_end(self):
        torch.set_default_dtype(torch.float64)


class TrainsItsReference(Right):
    """Trains the second copy, too, that was to stay as it is."""

    def __init__(self, model, *, lr: float = 0.05) -> None:
        super().__init__(model, lr=lr)
        self.frozen = copy.deepcopy(model)

    def loss(self, batch):
        forget = batch["forget"]
        known = self.frozen(input_ids=forget["input_ids"], attention_mask=forget["attention_mask"]).logits
        return super().loss(batch) + 1e-3 * known[forget["attention_mask"].bool()].square().mean()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=self.lr)


class Prints(Right):
    """Prints its progress."""

    def training_step(self, batch, batch_idx):
        print("update", batch_idx)
        return self.loss(batch)


class CountsPadding(Right):
    """Averages over padding, too."""

    def loss(self, batch):
        return self.logits(batch["forget"]).float().log_softmax(-1)[..., 11].mean()


class RunsDry(Right):
    """Wants a text of its own for every update."""

    def training_step(self, batch, batch_idx):
        assert self.context.forget.corpora[0].examples[batch_idx].ids
        return self.loss(batch)


class OneTopic(Right):
    """Knows one topic."""

    def loss(self, batch):
        return {self.context.topics[0]: 1.0}[batch["forget"]["topic"]] * super().loss(batch)


class LooksTooEarly(Right):
    """Looks its parameters up before the adapter is there."""

    def __init__(self, model, *, lr: float = 0.05, adapter: Literal["none", "lora"] = "none") -> None:
        self_parameters = list(model.parameters())
        super().__init__(model, lr=lr, adapter=adapter)
        self.early = self_parameters

    def configure_optimizers(self):
        return torch.optim.SGD([parameter for parameter in self.early if parameter.requires_grad], lr=self.lr)


class NoNarrowTypes(Right):
    """Goes through numpy, which has no bfloat16."""

    def on_fit_start(self):
        next(self.model.parameters()).detach().numpy()


class OneFamily(Right):
    """Takes every model for a Llama."""

    def __init__(self, model, *, lr: float = 0.05) -> None:
        super().__init__(model, lr=lr)
        assert len(model.model.layers) > 0


WRONG: dict[str, type[Right]] = {
    "documented": Undocumented,
    "built_from_the_model_alone": NeedsAnOption,
    "options_recorded": RecordsNothing,
    "runs_to_the_end": Stops,
    "loss_finite": NotANumber,
    "changes_the_model": Idle,
    "same_seed_same_weights": Remembers,
    "same_weights_in_a_subprocess": Hashes,
    "keys_and_dtypes_kept": Adds,
    "changes_only_what_it_declares": Meddles,
    "no_hooks_left": Hooks,
    "requires_grad_restored": Freezes,
    "random_generators_untouched": Seeds,
    "global_settings_untouched": Widens,
    "reference_untouched": TrainsItsReference,
    "prints_nothing": Prints,
    "padding_does_not_count": CountsPadding,
    "streams_that_run_dry": RunsDry,
    "two_topics": OneTopic,
    "lora": LooksTooEarly,
    "bfloat16": NoNarrowTypes,
    "family[gpt_neox]": OneFamily,
}


def spec(name: str, factory, source: str = "made up") -> MethodSpec:
    return MethodSpec(name=name, factory=factory, summary="made up", source=source, training=Training(steps=3))


SPECS = {
    "right": spec("right", Right),
    "entry_point": spec("nobody", Right),
    "source_and_summary": spec("wrong-source", Right, source=" "),
    **{check: spec(f"wrong-{factory.__name__.lower()}", factory) for check, factory in WRONG.items()},
}


@hookimpl
def unlearnbench_methods():
    return list(SPECS.values())
