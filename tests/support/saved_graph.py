"""What a SavedModel's graph holds, read without loading it."""

from pathlib import Path

RANDOM = ("Random", "Multinomial", "RngSkip", "RngReadAndSkip", "StatefulUniform", "Shuffle")


def random_ops(folder: Path) -> set[str]:
    """Returns the kinds of operations that draw numbers, in any graph or function of the model."""
    from tensorflow.core.protobuf import saved_model_pb2

    model = saved_model_pb2.SavedModel.FromString((Path(folder) / "saved_model.pb").read_bytes())
    graphs = [meta_graph.graph_def for meta_graph in model.meta_graphs]
    functions = [function for graph in graphs for function in graph.library.function]
    nodes = [
        *(node for graph in graphs for node in graph.node),
        *(node for function in functions for node in function.node_def),
    ]
    return {node.op for node in nodes if any(word in node.op for word in RANDOM)}
