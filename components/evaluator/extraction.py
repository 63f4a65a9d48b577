"""What TFMA measures: predictions, labels and slices, from kept features where the base allows it.

Both models answer in the classes that either knows, so that they can be measured on the same
photos though their classes differ. What they say of each photo is written beside TFMA's figures.

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
from tensorflow_model_analysis.api import types
from tensorflow_model_analysis.extractors import predictions_extractor
from tensorflow_model_analysis.utils import model_util

from components import features
from components.evaluator import photos, slices
from components.evaluator.eval_config import SLICE
from components.evaluator.feature_facts import FACTS, FeatureFacts, read_facts
from components.evaluator.photos import CANDIDATE, Labels
from components.evaluator.slices import PROPERTIES
from components.trainer import feature_cache, feature_noise

BATCH = 64  # images a call of the base
HELD = 512  # images of which the features are looked up together
TEXTS = {
    "sha256": features.SHA256,
    "path": features.PATH,
    "label": features.LABEL,
    "format": features.FORMAT,
}
VERIFIED = 8  # reused rows that are computed again and compared, once a model and worker


def custom_extractors(
    eval_shared_model: Any, eval_config: Any, tensor_adapter_config: Any
) -> list[Any]:
    """Returns ours, then TFMA's own that follow predictions; TFX's Evaluator calls this.

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
    models = model_util.verify_and_update_eval_shared_models(eval_shared_model) or ()
    ours = tfma.extractors.Extractor(
        # TFMA looks for this name.
        stage_name=predictions_extractor.PREDICTIONS_EXTRACTOR_STAGE_NAME,
        ptransform=beam.ParDo(_Answer(models, dict(FACTS))),
    )
    # The first gives the serialized examples; ours gives labels and what slices are by.
    names = [one.stage_name for one in extractors]
    return [extractors[0], ours, *extractors[names.index(ours.stage_name) + 1 :]]


class _Answer(model_util.DoFnWithModels):  # type: ignore[misc]
    """Makes extracts of batches of serialized examples, and writes the photos' rows.

    Args:
        models: TFMA's shared models, which are loaded once for all of its extractors.
        facts: see `feature_facts.FACTS`.
    """

    def __init__(self, models: Iterable[Any], facts: Mapping[str, Any]):
        models = list(models)
        super().__init__({model.model_name: model.model_loader for model in models})
        self._paths = {model.model_name: model.model_path for model in models}
        self._facts = dict(facts)
        self._labels = Labels.from_json(facts["labels"])
        self._slices = slices.from_json(facts["slices"])
        self._models: dict[str, _Model] = {}

    def setup(self) -> None:
        """Takes the models as they are loaded, once a worker."""
        super().setup()
        self._models = {
            name: _Model(loaded, self._paths[name], self._facts["cache"])
            for name, loaded in self._loaded_models.items()
        }

    def start_bundle(self) -> None:
        """Begins with nothing held back."""
        self._held: list[np.ndarray] = []

    def process(self, extracts: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """Yields slices, labels and every model's probabilities, in the columns of all classes.

        They are held back until there are many: TFMA's batches are of a few images, and each look
        into the cache opens all of its files.
        """
        self._held.append(np.asarray(extracts[tfma.INPUT_KEY]))
        if sum(map(len, self._held)) >= HELD:
            yield self._answer()

    def finish_bundle(self) -> Iterator[Any]:
        """Yields what was held back."""
        if self._held:
            yield GlobalWindows.windowed_value(self._answer())
        super().finish_bundle()

    def _answer(self) -> dict[str, Any]:
        serialized, self._held = np.concatenate(self._held), []
        answers = {
            # TFMA leaves the name out where there is one model.
            name or CANDIDATE: self._spread(name or CANDIDATE, model.predict(serialized))
            for name, model in self._models.items()
        }
        rows = self._rows(serialized, answers)
        photos.write_rows(self._facts["evaluation"], rows)
        places = {label: place for place, label in enumerate(self._labels.union)}
        index = np.array([places.get(row["label"], len(places)) for row in rows], np.int64)
        # One column more, always 0: for a label that no model knows, on which TFMA's cross-entropy
        # would end with an error.
        named = {
            name: {features.PROBABILITIES: np.pad(answer, ((0, 0), (0, 1)))}
            for name, answer in answers.items()
        }
        several = len(named) > 1
        return {
            tfma.FEATURES_KEY: {SLICE: _ragged(row["slices"] for row in rows)},
            tfma.LABELS_KEY: dict.fromkeys(named, index) if several else index,
            tfma.PREDICTIONS_KEY: named if several else named[CANDIDATE],
        }

    def _spread(self, model: str, probabilities: np.ndarray) -> np.ndarray:
        """Returns a model's probabilities in the columns of all classes, 0 in the others'."""
        spread = np.zeros((len(probabilities), len(self._labels.union)), np.float32)
        spread[:, self._labels.columns(model)] = probabilities
        return spread

    def _rows(
        self, serialized: np.ndarray, answers: Mapping[str, np.ndarray]
    ) -> list[dict[str, Any]]:
        parsed = {name: column.numpy() for name, column in _parse(serialized).items()}
        rows = []
        for place in range(len(serialized)):
            texts = {name: parsed[key][place].decode() for name, key in TEXTS.items()}
            numbers = {name: float(parsed[key][place]) for name, key in PROPERTIES.items()}
            size = {slices.SIZE: min(numbers["width"], numbers["height"])}
            names = slices.slices_of(
                texts["label"], texts["format"], texts["path"], {**numbers, **size}, self._slices
            )
            said = {name: answer[place] for name, answer in answers.items()}
            rows.append({**texts, **numbers, "slices": names, **said})
        return rows


def _parse(serialized: np.ndarray) -> Any:
    specification = {key: tf.io.FixedLenFeature([], tf.string, b"") for key in TEXTS.values()}
    for key in PROPERTIES.values():
        kind = tf.int64 if key in (features.WIDTH, features.HEIGHT) else tf.float32
        specification[key] = tf.io.FixedLenFeature([], kind, 0)
    return tf.io.parse_example(serialized, specification)


def _ragged(rows: Iterable[list[str]]) -> Any:
    """Returns rows of texts so that TFMA puts a photo into the slice of each of its texts."""
    return types.VarLenTensorValue.from_dense_rows(
        np.array([text.encode() for text in row], object) for row in rows
    )


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
