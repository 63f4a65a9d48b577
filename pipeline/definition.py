"""The pipeline: every stage in data order."""

from collections.abc import Collection
from typing import Any

from tfx.components import ExampleValidator, StatisticsGen, Trainer, Transform, Tuner
from tfx.dsl.components.common.resolver import Resolver
from tfx.dsl.placeholder import placeholder
from tfx.orchestration import metadata, pipeline
from tfx.proto import trainer_pb2, transform_pb2
from tfx.types import standard_artifacts
from tfx.types.channel import Channel

from components import digests, features
from components.data_validation.baseline import CURRENT, STATISTICS, ServedStatisticsStrategy
from components.data_validation.component import DataGate
from components.data_validation.curated_schema import CuratedSchema
from components.data_validation.gate import GateLimits
from components.evaluator.baseline import CANDIDATE, MODEL, ServedModelStrategy
from components.evaluator.component import Evaluator
from components.evaluator.eval_config import build_eval_config
from components.image_example_gen.component import ImageExampleGen
from components.model_gate.component import ModelGate
from components.pusher.component import Pusher
from components.pusher.executor import Settings as PushSettings
from components.served_baseline.component import ServedModel, ServedStatistics
from components.serving_gate.component import ServingGate
from components.serving_gate.gate import ServingLimits
from components.trainer import feature_cache, warm_start_strategy
from components.verdict import VERDICT
from pipeline import base_digest
from pipeline.beam_options import SLOTS, VARIABLE
from pipeline.config import Config
from pipeline.infra_validation import NODE as INFRA_VALIDATOR
from pipeline.infra_validation import build_validators

SCHEMA_FILE = "schemas/image_examples.pbtxt"
PREPROCESSING_FN = "components.transform.preprocessing.preprocessing_fn"
RUN_FN = "components.trainer.run.run_fn"
TUNER_FN = "components.trainer.tuning.tuner_fn"

BASELINE = "Baseline"
BASELINE_STATISTICS = "BaselineStatistics"
TEST_EVALUATOR = "TestEvaluator"
TUNER = "Tuner"  # as TFX names it by its class
WARM_START = "WarmStart"

# Between probabilities as evaluated and as served: by float32, and from features in float16.
EXACT, ROUNDED = 1e-5, 1e-2
# These look at the outside world (what is served, a container engine), which no cache key of TFX
# knows.
NEVER_CACHED = ("Pusher", INFRA_VALIDATOR)


def create_pipeline(
    config: Config, predefined: Collection[str] = (), on_cluster: bool = False
) -> pipeline.Pipeline:
    """Joins the stages as the configuration says.

    Args:
        config: a loaded configuration.
        predefined: names of the splits that the source itself gives.
        on_cluster: whether stages run in containers of their own, with nothing in common but
            artifacts and volumes: what is served is then copied, not looked up in ML Metadata, and
            Beam's flags are those of the configuration alone. Default: this machine.

    Returns:
        A TFX pipeline for any of TFX's runners.
    """
    example_gen = ImageExampleGen(
        settings=config.source_settings,
        splits=config.data.splits.shares(),
        salt=config.data.split_salt,
        max_pixels=config.data.max_pixels,
        min_size=config.data.min_size,
        leakage=config.data.leakage,
    )
    schema = CuratedSchema(schema_file=SCHEMA_FILE)
    statistics_gen = StatisticsGen(
        examples=example_gen.outputs["examples"], schema=schema.outputs["schema"]
    )
    example_validator = ExampleValidator(
        statistics=statistics_gen.outputs["statistics"], schema=schema.outputs["schema"]
    )
    push_directory = str(config.push.directory)
    if on_cluster:
        baseline_statistics = ServedStatistics(push_directory).with_id(BASELINE_STATISTICS)
    else:
        baseline_statistics = Resolver(
            strategy_class=ServedStatisticsStrategy,
            config={"push_directory": push_directory, "drift": config.data.drift},
            **{
                MODEL: Channel(type=standard_artifacts.Model),
                STATISTICS: Channel(type=standard_artifacts.ExampleStatistics),
                CURRENT: statistics_gen.outputs["statistics"],
            },
        ).with_id(BASELINE_STATISTICS)
    data_gate = DataGate(
        quarantine=example_gen.outputs["quarantine"],
        anomalies=example_validator.outputs["anomalies"],
        statistics=statistics_gen.outputs["statistics"],
        schema=schema.outputs["schema"],
        baseline_statistics=baseline_statistics.outputs[STATISTICS],
        limits=GateLimits(config.data.max_refused, config.data.leakage, config.data.drift),
    )

    settings = config.training_settings
    identify = base_digest.postponed if on_cluster else base_digest.base_digest
    transform_sha256 = digests.code_digest(PREPROCESSING_FN.rpartition(".")[0])
    transform = Transform(
        examples=example_gen.outputs["examples"],
        schema=schema.outputs["schema"],
        preprocessing_fn=PREPROCESSING_FN,
        splits_config=transform_pb2.SplitsConfig(
            analyze=[features.TRAIN], transform=[features.TRAIN]
        ),
        materialize=False,
        disable_statistics=True,
        custom_config={**settings["image"], "code_sha256": transform_sha256},
    )
    transform.add_upstream_node(data_gate)

    trainer_sha256 = digests.code_digest(RUN_FN.rpartition(".")[0])
    training = {
        **settings,
        "base_sha256": identify(config.base, config.train.seed),
        "transform_sha256": transform_sha256,
    }
    on_train = {
        "examples": example_gen.outputs["examples"],
        "transform_graph": transform.outputs["transform_graph"],
        "schema": schema.outputs["schema"],
        "train_args": trainer_pb2.TrainArgs(splits=[features.TRAIN]),
        # TFX wants an evaluation split here; ours stays unseen by the trainer.
        "eval_args": trainer_pb2.EvalArgs(splits=[features.TRAIN]),
    }
    before_training = []
    warm_start = None
    if config.tune.trials:
        tuner = Tuner(
            **on_train,
            tuner_fn=TUNER_FN,
            custom_config={
                **training,
                "tune": config.tune.model_dump(mode="json"),
                "code_sha256": digests.code_digest(TUNER_FN.rpartition(".")[0]),
            },
        )
        before_training.append(tuner)
    if config.train.warm_start and on_cluster:
        warm_start = ServedModel(push_directory).with_id(WARM_START)
    elif config.train.warm_start:
        warm_start = Resolver(
            strategy_class=warm_start_strategy.WarmStartStrategy,
            config={"push_directory": push_directory},
            **{
                MODEL: Channel(type=standard_artifacts.Model),
                warm_start_strategy.EXAMPLES: example_gen.outputs["examples"],
            },
        ).with_id(WARM_START)
    if warm_start:
        before_training.append(warm_start)
    trainer = Trainer(
        **on_train,
        run_fn=RUN_FN,
        base_model=warm_start.outputs[MODEL] if warm_start else None,
        hyperparameters=tuner.outputs["best_hyperparameters"] if config.tune.trials else None,
        custom_config={
            **training,
            "code_sha256": trainer_sha256,
        },
    )

    if on_cluster:
        baseline = ServedModel(push_directory).with_id(BASELINE)
        # Not before: what is served may change while a model is trained.
        baseline.add_upstream_node(trainer)
    else:
        baseline = Resolver(
            strategy_class=ServedModelStrategy,
            config={"push_directory": push_directory},
            **{MODEL: Channel(type=standard_artifacts.Model), CANDIDATE: trainer.outputs["model"]},
        ).with_id(BASELINE)
    kept_features: dict[str, Any] = {
        "cache": str(config.cache / feature_cache.FOLDER),
        "cache_limit": config.train.cache_limit,
        "slices": config.evaluate.all_slices,
    }
    evaluator = Evaluator(
        **kept_features,
        examples=example_gen.outputs["examples"],
        model=trainer.outputs["model"],
        baseline_model=baseline.outputs[MODEL],
        eval_config=build_eval_config(),
        schema=schema.outputs["schema"],
        example_splits=[features.VALIDATION],
    )
    on_test = []
    if config.data.splits.test is not None or features.TEST in predefined:
        # The test split is reported on, never gated on.
        test_evaluator = Evaluator(
            **kept_features,
            examples=example_gen.outputs["examples"],
            model=trainer.outputs["model"],
            eval_config=build_eval_config(),
            schema=schema.outputs["schema"],
            example_splits=[features.TEST],
        ).with_id(TEST_EVALUATOR)
        on_test.append(test_evaluator)
    model_gate = ModelGate(
        evaluation=evaluator.outputs["evaluation"],
        model=trainer.outputs["model"],
        baseline_model=baseline.outputs[MODEL],
        limits=config.evaluate.limits,
        push_directory=push_directory,
    )
    serving_gate = ServingGate(
        evaluation=evaluator.outputs["evaluation"],
        model=trainer.outputs["model"],
        examples=example_gen.outputs["examples"],
        limits=ServingLimits(
            EXACT if config.is_exact else ROUNDED,
            config.evaluate.max_latency,
            config.evaluate.max_memory,
        ).to_json(),
    )
    # TFX cannot compile it for Kubeflow.
    infra_validators = (
        []
        if on_cluster
        else build_validators(config, trainer.outputs["model"], example_gen.outputs["examples"])
    )
    pusher = Pusher(
        model=trainer.outputs["model"],
        model_blessing=model_gate.outputs["blessing"],
        infra_blessing=serving_gate.outputs["blessing"],
        server_blessing=infra_validators[0].outputs["blessing"] if infra_validators else None,
        examples=example_gen.outputs["examples"],
        verdict=model_gate.outputs[VERDICT],
        statistics=statistics_gen.outputs["statistics"],
        directory=push_directory,
        settings=PushSettings(
            config.name,
            config.push.keep,
            str(config.push.signing_key or ""),
            {
                "base_sha256": training["base_sha256"],
                "code_sha256": {"Transform": transform_sha256, "Trainer": trainer_sha256},
                "configuration_sha256": digests.parts_digest([config.to_yaml()]),
            },
        ).to_json(),
    )

    return pipeline.Pipeline(
        pipeline_name=config.name,
        pipeline_root=str(config.artifacts),
        components=[
            example_gen,
            schema,
            statistics_gen,
            example_validator,
            baseline_statistics,
            data_gate,
            transform,
            *before_training,
            trainer,
            baseline,
            evaluator,
            *on_test,
            model_gate,
            serving_gate,
            *infra_validators,
            pusher,
        ],
        enable_cache=True,
        metadata_connection_config=metadata.sqlite_metadata_connection_config(
            str(config.metadata_path)
        ),
        beam_pipeline_args=list(config.runtime.beam_args)
        if on_cluster
        else [placeholder.environment_variable(VARIABLE.format(slot)) for slot in range(SLOTS)],
    )
