"""What must hold for the pipelines of a loader, and the order in which their operations run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from dali_msda.ffcv.library import (
    Graph,
    IntDecoder,
    Node,
    Operation,
    PipelineSpec,
    Squeeze,
    ToDevice,
    ToTensor,
    TransformNode,
    torch,
)
from dali_msda.ffcv.operations import MixerOperation

COMPILED_AFTER_TENSORS = (
    "pipelines: expected only operations on tensors after one that makes them, such as those of a "
    "Mixer and ToTensor; put those that FFCV compiles before it"
)


def mixer_operations(graph: Graph) -> list[tuple[Node, MixerOperation]]:
    """The mixers' operations, each with its node."""
    nodes = [node for node in graph.nodes if isinstance(node, TransformNode)]
    return [(node, node.operation) for node in nodes if isinstance(node.operation, MixerOperation)]


def expect_operations(pipelines: object) -> None:
    """Raise TypeError unless pipelines hold operations; FFCV itself would not say what is wrong."""
    if not isinstance(pipelines, Mapping):
        raise TypeError(
            f"pipelines: expected a dictionary of lists, by field, got {type(pipelines).__name__}"
        )
    for field, pipeline in pipelines.items():
        operations = pipeline.transforms if isinstance(pipeline, PipelineSpec) else pipeline
        for place, operation in enumerate(
            operations if isinstance(operations, list | tuple) else ()
        ):
            if isinstance(operation, Operation | torch.nn.Module):
                continue
            got = operation.__name__ if isinstance(operation, type) else type(operation).__name__
            remedy = "call it, to make one" if isinstance(operation, type) else "leave it out"
            if isinstance(operation, list | tuple):
                remedy = "unpack it with a star, as in *mixer.images()"
            raise TypeError(
                f"pipelines[{field!r}][{place}]: expected an operation, got {got}; {remedy}"
            )


def before_mixing(pipeline: PipelineSpec | Sequence[object] | None) -> object:
    """A pipeline up to the operation that mixes, as tensors; the pipeline if none does."""
    is_spec = isinstance(pipeline, PipelineSpec)
    operations = list(pipeline.transforms if is_spec else pipeline or ())
    mixing = [isinstance(operation, MixerOperation) for operation in operations]
    if True not in mixing:
        return pipeline
    operations = operations[: mixing.index(True)]
    if not any(isinstance(operation, ToTensor) for operation in operations):
        operations.append(ToTensor())
    if is_spec:
        return PipelineSpec(pipeline.source, pipeline.decoder, operations)
    return operations


def expect_fields(pipelines: Mapping[str, object], fields: Iterable[str]) -> None:
    """Raise ValueError if a list of operations is given for what is no field of the dataset."""
    for field, pipeline in pipelines.items():
        if isinstance(pipeline, list | tuple) and field not in fields:
            raise ValueError(
                f"pipelines: expected fields of the dataset, {', '.join(fields)}, got {field!r}; "
                "give a PipelineSpec for another name"
            )


def expect_images_and_targets(graph: Graph) -> None:
    """Raise ValueError unless each mixer has images and targets, and a pair of tensors is last."""
    operations = [operation for _, operation in mixer_operations(graph)]
    for mixer in {operation.mixer: None for operation in operations}:
        draws = [operation.draws_plan for operation in operations if operation.mixer is mixer]
        if draws.count(True) != 1 or draws.count(False) == 0:
            raise ValueError(
                "pipelines: expected one with mixer.images() and at least one with "
                f"mixer.targets() of the same Mixer, got {draws.count(True)} and "
                f"{draws.count(False)}; labels that are not mixed as the images are would be wrong"
            )
    for node in graph.nodes:
        parent = getattr(node.parent, "operation", None)
        if isinstance(parent, MixerOperation) and parent.makes_pair:
            raise ValueError(
                "pipelines: expected nothing after mixer.targets(compact=True), which makes a "
                f"pair of tensors, got {type(getattr(node, 'operation', node)).__name__}; leave "
                "it out and move the pair when the loader has returned it"
            )


def expect_labels_in_range(loader: Any) -> None:
    """Raise ValueError if a label of the dataset is out of a mixer's range."""
    for node, operation in mixer_operations(loader.graph):
        source = node.parent
        while isinstance(getattr(source, "operation", None), ToTensor | Squeeze | ToDevice):
            source = source.parent
        decoder = getattr(source, "decoder", None)
        if operation.draws_plan or not isinstance(decoder, IntDecoder):
            continue  # soft labels, or an operation between that may change them
        labels = loader.reader.metadata[f"f{source.f_ix}"][loader.indices]
        wrong = (labels < 0) | (labels >= operation.mixer.num_classes)
        if wrong.any():
            raise ValueError(
                f"num_classes: expected more than every label, got {operation.mixer.num_classes} "
                f"and label {labels[wrong][0]} of sample {loader.indices[wrong][0]}"
            )


def stages_with_plans_first(graph: Graph) -> list[list[int]]:
    """FFCV's stages, sorted so that a batch's plan is drawn before anything needs it.

    FFCV itself runs the pipelines of a stage in any order.
    """
    for node in graph.nodes:
        before = [other for other in _with_ancestors(node)[1:] if other.is_jitted is False]
        if node.is_jitted and before:  # FFCV would look for the stage for ever
            raise TypeError(f"{COMPILED_AFTER_TENSORS}, got {type(node.operation).__name__}")
    first = set()
    for node, operation in mixer_operations(graph):
        if operation.draws_plan:
            first.update(graph.node_to_id[other] for other in _with_ancestors(node))
    return [
        sorted(stage, key=lambda id: id not in first) for stage in Graph.group_operations(graph)
    ]


def _with_ancestors(node: Node) -> list[Node]:
    """The node and all nodes that it is computed from, back to the decoder."""
    line = [node]
    while line[-1].parent is not None:
        line.append(line[-1].parent)
    return line
