"""The base of transforms that are modules: their state is the key of their draws."""

from __future__ import annotations

import torch

from dali_msda.torch.draw_key import DrawKey


class DrawingModule(torch.nn.Module):
    """A module without tensors, whose own state says which batch comes next.

    Attributes:
        _key: The key of its draws.
    """

    _key: DrawKey

    def state_dict(self, *args: object, **kwargs: object) -> dict[str, object]:
        """What is needed to go on from the next batch: the seed and the number of the batch.

        The state of a model that holds the transform does not contain it, so that weights fit
        models with and without it; save ``transform.state_dict()`` beside the model's.
        """
        as_part = args or kwargs.get("destination") is not None
        return super().state_dict(*args, **kwargs) if as_part else self._key.state()

    def load_state_dict(self, state_dict: dict[str, object], *_: object, **__: object) -> None:
        """Go on from what :meth:`state_dict` returned, with the seed in it.

        Raises:
            TypeError, ValueError: If it is not such a state.
        """
        self._key.restore(state_dict)
