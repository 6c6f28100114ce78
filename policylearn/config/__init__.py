"""Every setting of policylearn: one pydantic model per component, strict TOML in, resolved JSON out.

The defaults are the planted benchmark: `Config()` is a complete, runnable experiment.
"""

from policylearn.config.data import (
    ATTRIBUTES,
    CorpusConfig,
    ModelConfig,
    PatchesConfig,
    PlantedConfig,
    PlantedContextConfig,
    PlantedFactsConfig,
    TaskConfig,
)
from policylearn.config.experiment import Config
from policylearn.config.learning import InnerConfig, LearnConfig, OutcomesConfig, OuterConfig
from policylearn.config.loading import changes, config_of, dotted, known_keys, load_config, resolved_json, tree_of
from policylearn.config.masking import MaskingConfig, PolicyConfig, RandomRate, RateSchedule
from policylearn.config.places import BENCHMARKS, PLANTED, PLANTED_CONTEXT, PLANTED_FACTS
from policylearn.config.pretrain import PretrainConfig
from policylearn.config.running import (
    PLANTED_ONLY,
    ClusterConfig,
    EvaluateConfig,
    FineTuneConfig,
    TrackConfig,
    ValidityConfig,
    parts_of,
)
from policylearn.config.scores import ScoresConfig
from policylearn.config.study import StudyConfig, is_study, load_study
from policylearn.config.supervised import SupervisedConfig

__all__ = [
    "ATTRIBUTES",
    "BENCHMARKS",
    "PLANTED",
    "PLANTED_CONTEXT",
    "PLANTED_FACTS",
    "PLANTED_ONLY",
    "ClusterConfig",
    "Config",
    "CorpusConfig",
    "EvaluateConfig",
    "FineTuneConfig",
    "InnerConfig",
    "LearnConfig",
    "MaskingConfig",
    "ModelConfig",
    "OutcomesConfig",
    "OuterConfig",
    "PatchesConfig",
    "PlantedConfig",
    "PlantedContextConfig",
    "PlantedFactsConfig",
    "PolicyConfig",
    "PretrainConfig",
    "RandomRate",
    "RateSchedule",
    "ScoresConfig",
    "StudyConfig",
    "SupervisedConfig",
    "TaskConfig",
    "TrackConfig",
    "ValidityConfig",
    "changes",
    "config_of",
    "dotted",
    "is_study",
    "known_keys",
    "load_config",
    "load_study",
    "parts_of",
    "resolved_json",
    "tree_of",
]
