# The public names of genebrain and where they live. ``__init__.py`` makes each importable, loaded at first use; type
# checkers read this file (``X as X`` is how a stub exports a name). A public name never moves: settings files and run
# folders call things by it.

# verbs
from .tasks.alignment import (
    ablate as ablate,
    embed as embed,
    evaluate as evaluate,
    fit as fit,
    report as report,
    simulate as simulate,
)
from .tasks.before import check as check, plan as plan, power as power
from .tasks.controls import controls as controls
from .tasks.controls import compare as compare
from .tasks.care import forget as forget, store as store
from .tasks.finetuning import finetune as finetune
from .tasks.pretraining import pretrain as pretrain, probe as probe
from .tasks.scans import scan_report as scan_report
from .tasks.scans import convert_scan_encoder as convert_scan_encoder, embed_scans as embed_scans
from .tasks.sequences import embed_sequences as embed_sequences, models as models
from .tasks.variants import generate as generate, recover as recover, score_variants as score_variants

from .tasks.vectors import export as export, search as search

# a finished run
from .runs.run import Run as Run, load_run as load_run

# settings of the verbs
from .alignment.settings import AlignmentSettings as AlignmentSettings, ProjectorSettings as ProjectorSettings
from .alignment.settings import TrainerSettings as TrainerSettings
from .brain.encoders.settings import EncoderSettings as EncoderSettings, VolumeSettings as VolumeSettings
from .brain.images.cleaning import Cleaning as Cleaning
from .brain.images.volume_scaling import VolumeReading as VolumeReading
from .brain.pretraining.settings import VolumeAugmentation as VolumeAugmentation
from .brain.pretraining.settings import ObjectiveSettings as ObjectiveSettings
from .brain.pretraining.trainer import PretrainerSettings as PretrainerSettings
from .brain.windows.policy import WindowPolicy as WindowPolicy
from .cohort.splits.settings import SplitSettings as SplitSettings
from .engines.settings import EngineSettings as EngineSettings
from .genetics.finetuning.settings import HeadSettings as HeadSettings
from .genetics.finetuning.settings import FoldSettings as FoldSettings
from .genetics.finetuning.settings import TableSettings as TableSettings
from .genetics.finetuning.settings import TokenSettings as TokenSettings
from .genetics.finetuning.settings import TrainingSettings as TrainingSettings
from .genetics.model.options import ModelOptions as ModelOptions, ReadingRules as ReadingRules
from .genetics.haplotypes.policies import GenotypeRules as GenotypeRules
from .runs.fit import Experiment as Experiment
from .sides.connectome import ConnectomeSide as ConnectomeSide
from .sides.estimators.registry import SCAN_ESTIMATORS as SCAN_ESTIMATORS
from .sides.estimators.side import EstimatorSide as EstimatorSide
from .sides.genes.encoder import ReadsDNA as ReadsDNA
from .sides.genome import GeneSide as GeneSide
from .sides.pooling import GenePooling as GenePooling
from .sides.scans import EncoderSide as EncoderSide
from .sides.workspace import Workspace as Workspace
from .sides.vectors.brains import VectorBrain as VectorBrain
from .sides.vectors.genes import VectorGenes as VectorGenes
from .simulation.mechanisms import (
    MECHANISMS as MECHANISMS,
    Mechanism as Mechanism,
    register_mechanism as register_mechanism,
)
from .simulation.second_settings import SecondCohort as SecondCohort
from .simulation.source import CohortSource as CohortSource
from .tasks.second_cohort import CohortPlace as CohortPlace
from .training.settings import LoraSettings as LoraSettings

# the model: towers, losses, poolings, closed form
from .alignment.closed_form.fit import ClosedForm as ClosedForm, fit_closed_form as fit_closed_form
from .alignment.closed_form.ridge_cca import RidgeCCA as RidgeCCA, fit_ridge_cca as fit_ridge_cca
from .alignment.losses.infonce import InfoNCE as InfoNCE, dense_infonce as dense_infonce
from .alignment.losses.registry import LOSSES as LOSSES
from .alignment.losses.siglip import SigLIP as SigLIP
from .alignment.losses.tiled import TiledLoss as TiledLoss
from .alignment.losses.temperature import LogitScale as LogitScale
from .alignment.model import AlignmentModel as AlignmentModel
from .alignment.module import AlignmentModule as AlignmentModule
from .alignment.one_file import load_model as load_model, save_model as save_model
from .alignment.towers.pooling import (
    Attention as Attention,
    DiploidPooling as DiploidPooling,
    Flatten as Flatten,
    GatedAttention as GatedAttention,
    GeM as GeM,
    Last as Last,
    Max as Max,
    Mean as Mean,
    Pooling as Pooling,
)
from .alignment.towers.registry import POOLINGS as POOLINGS
from .alignment.towers.registry import PROJECTORS as PROJECTORS
from .alignment.towers.projector import Projector as Projector
from .alignment.towers.standardiser import Standardiser as Standardiser
from .alignment.towers.towers import ProjectorTower as ProjectorTower, ResidualTower as ResidualTower
from .alignment.train import train as train
from .sides.pairs import PairDataset as PairDataset, PairedDataModule as PairedDataModule

# genomes
from .genetics.chunks.build import build_chunks as build_chunks
from .genetics.encoders.generator import GeneratorEncoder as GeneratorEncoder
from .genetics.encoders.kmers import KmerCounts as KmerCounts
from .genetics.encoders.plain import check_dna_encoder as check_dna_encoder
from .genetics.encoders.protocol import DNA_ENCODERS as DNA_ENCODERS, DNAEncoder as DNAEncoder, DNAWeights as DNAWeights
from .genetics.model.backbone import GeneratorBackbone as GeneratorBackbone, load_generator as load_generator
from .genetics.model.language_model import load_language_model as load_language_model
from .genetics.model.sliding_window import pool_stream as pool_stream
from .genetics.model.tokenizer import SixMerTokenizer as SixMerTokenizer
from .genetics.sequences.vectors import SequenceEmbeddings as SequenceEmbeddings
from .genetics.store.store import ChunkStore as ChunkStore

# scans
from .brain.connectome.base import ConnectomeFeature as ConnectomeFeature
from .brain.connectome.correlation import Correlation as Correlation, PartialCorrelation as PartialCorrelation
from .brain.connectome.features import FEATURES as FEATURES, register_kind as register_kind
from .brain.connectome.moments import Moments as Moments
from .brain.connectome.tangent import InnovationTangent as InnovationTangent, Lag0Tangent as Lag0Tangent
from .brain.encoders.base import WindowEncoder as WindowEncoder
from .brain.encoders.build import build_encoder as build_encoder
from .brain.encoders.families import EncoderFamily as EncoderFamily, InputShape as InputShape
from .brain.encoders.hub_form import from_pretrained as from_pretrained, save_pretrained as save_pretrained
from .brain.encoders.plain import check_window_encoder as check_window_encoder
from .brain.encoders.families import SCAN_ENCODERS as SCAN_ENCODERS
from .brain.models.brainlm.image import ViTMAE as ViTMAE
from .brain.models.brainlm.region_time import BrainLM as BrainLM
from .brain.models.brainmt.model import BrainMT as BrainMT
from .brain.models.swift.model import SwiFT as SwiFT
from .brain.store.store import ScanStore as ScanStore

# encoders of your own
from .brain.pretraining.settings import OBJECTIVES as OBJECTIVES
from .brain.pretraining.settings import RegisteredObjective as RegisteredObjective
from .genetics.encoders.options import EmbedOptions as EmbedOptions

# people, and the judge
from .cohort.participants import Cohort as Cohort, load_cohort as load_cohort
from .common.registry import Registry as Registry, load_plugins as load_plugins
from .common.types import UserError as UserError
from .evaluation.ceiling import bayes_ceiling as bayes_ceiling
from .evaluation.nulls import permutation_test as permutation_test
from .evaluation.power import detectable_effect as detectable_effect
from .evaluation.retrieval import (
    chance as chance,
    evaluate_retrieval as evaluate_retrieval,
    within_stratum as within_stratum,
)

__all__: list[str]
__version__: str
