"""Predictions for TFMA from kept features: the base is passed only by images that are new to it.

With a frozen base nearly all of an evaluation is the pass of the base. The features of validation
images are therefore kept beside those of training images, computed by the model's own signature
`embed`; its signature `classify_features` does the rest. A sample of what is reused is computed
again each time and compared. A model whose base was fine-tuned is asked as a server would be.
"""

import logging
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import apache_beam as beam
import numpy as np
import tensorflow as tf
import tensorflow_model_analysis as tfma
from apache_beam.transforms.window import GlobalWindows
from tensorflow_model_analysis.extractors import predictions_extractor
from tensorflow_model_analysis.utils import model_util

from components import features
from components.evaluator.feature_facts import CACHE, FeatureFacts, read_facts
from components.trainer import feature_cache, feature_noise

BATCH = 64  # images a call of the base
HELD = 512  # images of which the features are looked up together
VERIFIED = 8  # reused rows that are computed again and compared, once a model and worker


def custom_extractors(
    eval_shared_model: Any, eval_config: Any, tensor_adapter_config: Any
) -> list[Any]:
    """Returns TFMA's own extractors, that of predictions replaced; TFX's Evaluator calls this.

    Args:
        eval_shared_model: one or several models, as TFMA has them.
        eval_config: the evaluation's configuration.
        tensor_adapter_config: how Arrow columns become tensors.
    """
    extractors = tfma.default_extractors(
        eval_shared_model=eval_shared_model,
        eval_config=eval_config,
        tensor_adapter_config=tensor_adapter_config,
    )
    models = model_util.verify_and_update_eval_shared_models(eval_shared_model)
    stage = predictions_extractor.PREDICTIONS_EXTRACTOR_STAGE_NAME
    ours = tfma.extractors.Extractor(
        stage_name=stage, ptransform=beam.ParDo(_Predict(models or (), dict(CACHE)))
    )
    return [ours if one.stage_name == stage else one for one in extractors]


class _Predict(model_util.DoFnWithModels):  # type: ignore[misc]
    """Adds probabilities to batches of extracts.

    Args:
        models: TFMA's shared models, which are loaded once for all of its extractors.
        cache: `folder` of all features and `limit` in bytes; empty for no cache.
    """

    def __init__(self, models: Iterable[Any], cache: Mapping[str, Any]):
        models = list(models)
        super().__init__({model.model_name: model.model_loader for model in models})
        self._paths = {model.model_name: model.model_path for model in models}
        self._cache = dict(cache)
        self._models: dict[str, _Model] = {}

    def setup(self) -> None:
        """Takes the models as they are loaded, once a worker."""
        super().setup()
        self._models = {
            name: _Model(loaded, self._paths[name], self._cache)
            for name, loaded in self._loaded_models.items()
        }

    def start_bundle(self) -> None:
        """Begins with nothing held back."""
        self._held: list[Mapping[str, Any]] = []

    def process(self, extracts: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """Yields the extracts with every model's probabilities under `tfma.PREDICTIONS_KEY`.

        They are held back until there are many: TFMA's batches are of a few images, and each look
        into the cache opens all of its files.
        """
        self._held.append(extracts)
        if sum(len(one[tfma.INPUT_KEY]) for one in self._held) >= HELD:
            yield from self._answer()

    def finish_bundle(self) -> Iterator[Any]:
        """Yields what was held back."""
        for extracts in self._answer():
            yield GlobalWindows.windowed_value(extracts)
        super().finish_bundle()

    def _answer(self) -> Iterator[dict[str, Any]]:
        if not self._held:
            return
        batches = [np.asarray(extracts[tfma.INPUT_KEY]) for extracts in self._held]
        ends = np.cumsum([len(batch) for batch in batches])[:-1]
        answers = {
            name: np.split(model.predict(np.concatenate(batches)), ends)
            for name, model in self._models.items()
        }
        held, self._held = self._held, []
        for number, extracts in enumerate(held):
            named = {
                name: {features.PROBABILITIES: parts[number]} for name, parts in answers.items()
            }
            [*names] = named
            # TFMA leaves the name out where there is one model.
            predictions = named if len(names) > 1 else named[names[0]]
            yield {**extracts, tfma.PREDICTIONS_KEY: predictions}


class _Model:
    """A loaded SavedModel that answers for serialized examples."""

    def __init__(self, loaded: Any, path: str, cache: Mapping[str, Any]):
        self._model = loaded  # its signatures do not keep its variables alive
        self._signatures = loaded.signatures
        self._cache = cache
        self._facts = read_facts(path) if cache else None
        if features.CLASSIFY_FEATURES not in self._signatures:
            self._facts = None  # a model of an earlier version
        self._verified = VERIFIED

    def predict(self, serialized: np.ndarray) -> np.ndarray:
        """Returns probabilities, float32 [batch, classes], of examples, string [batch]."""
        if self._facts is None:
            serve = self._signatures[features.SERVE_EXAMPLES]
            parts = [
                serve(examples=tf.constant(part))[features.PROBABILITIES].numpy()
                for part in _split(serialized)
            ]
            return np.concatenate(parts)
        classify = self._signatures[features.CLASSIFY_FEATURES]
        vectors = self._features(serialized, self._facts)
        return np.asarray(classify(embedding=tf.constant(vectors))[features.PROBABILITIES])

    def _features(self, serialized: np.ndarray, facts: FeatureFacts) -> np.ndarray:
        parsed = tf.io.parse_example(
            serialized,
            {
                name: tf.io.FixedLenFeature([], tf.string)
                for name in (features.IMAGE, features.SHA256)
            },
        )
        contents = parsed[features.IMAGE].numpy()
        keys = parsed[features.SHA256].numpy().astype("S64")

        def extract(wanted: frozenset[bytes]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
            rows = [row for row, key in enumerate(keys.tolist()) if key in wanted]
            embed = self._signatures[features.EMBED]
            for part in _split(np.array(rows)):
                answer = embed(image_bytes=tf.constant(contents[part]))
                yield answer["embedding"].numpy(), keys[part]

        collected = feature_cache.collect(
            Path(self._cache["folder"]),
            facts.space,
            keys,
            facts.width,
            extract,
            limit=self._cache["limit"],
            verified=self._verified,
            tolerance=feature_noise.tolerance(),
            # What the next training reads must not go for what this evaluation reads.
            evicts=False,
        )
        self._verified = 0
        for note in collected.notes:
            logging.warning(note)
        return collected.vectors.gather(np.arange(len(keys)))


def _split(rows: np.ndarray) -> Iterator[np.ndarray]:
    """Yields the rows in batches that the base takes at once."""
    for start in range(0, len(rows), BATCH):
        yield rows[start : start + BATCH]
