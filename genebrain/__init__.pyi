# The public names of genebrain and where they live. ``__init__.py`` makes each importable, loaded at first use; type
# checkers read this file. A public name never moves: settings files and run folders call things by it.

# verbs
from .tasks.alignment import ablate, check, embed, evaluate, fit, plan, power, report, simulate
from .tasks.finetuning import finetune
from .tasks.pretraining import pretrain, probe
from .tasks.scan_quality import scan_report
from .tasks.scans import convert_scan_encoder, embed_scans
from .tasks.sequences import embed_sequences, models
from .tasks.variants import generate, recover, score_variants

# settings of the verbs
from .alignment.settings import AlignmentSettings, ProjectorSettings, TrainerSettings
from .brain.encoders.settings import VolumeSettings
from .brain.images.cleaning import Cleaning
from .brain.pretraining.settings import ObjectiveSettings, VolumeAugmentation
from .brain.pretraining.trainer import PretrainerSettings
from .brain.windows.policy import WindowPolicy
from .cohort.splits.settings import SplitSettings
from .genetics.finetuning.settings import FoldSettings, HeadSettings, TableSettings, TokenSettings, TrainingSettings
from .genetics.model.options import ModelOptions
from .runs.fit import Experiment
from .sides.connectome import ConnectomeSide
from .sides.genome import GeneSide
from .sides.pooling import GenePooling
from .sides.scans import EncoderSide
from .sides.workspace import Workspace
from .simulation.source import CohortSource
from .training.settings import LoraSettings

# the model: towers, losses, poolings, closed form
from .alignment.closed_form.fit import ClosedForm, fit_closed_form
from .alignment.closed_form.ridge_cca import RidgeCCA, fit_ridge_cca
from .alignment.losses.infonce import InfoNCE, dense_infonce
from .alignment.losses.registry import LOSSES
from .alignment.losses.siglip import SigLIP
from .alignment.losses.temperature import LogitScale
from .alignment.model import AlignmentModel, Towers
from .alignment.module import AlignmentModule
from .alignment.towers.pooling import Attention, DiploidPooling, Flatten, GatedAttention, GeM, Last, Max, Mean, Pooling
from .alignment.towers.registry import POOLINGS
from .alignment.towers.projector import Projector
from .alignment.towers.standardiser import Standardiser
from .alignment.towers.towers import ProjectorTower, ResidualTower
from .alignment.train import train
from .sides.pairs import PairDataset, PairedDataModule

# genomes
from .genetics.chunks.build import build_chunks
from .genetics.encoders.generator import GeneratorEncoder
from .genetics.encoders.plain import check_dna_encoder
from .genetics.encoders.protocol import DNA_ENCODERS, DNAEncoder, DNAWeights
from .genetics.model.backbone import GeneratorBackbone, load_generator
from .genetics.model.language_model import load_language_model
from .genetics.model.sliding_window import pool_stream
from .genetics.model.tokenizer import SixMerTokenizer
from .genetics.sequences.vectors import SequenceEmbeddings
from .genetics.store.store import ChunkStore

# scans
from .brain.connectome.base import ConnectomeFeature
from .brain.connectome.correlation import Correlation, PartialCorrelation
from .brain.connectome.moments import Moments
from .brain.connectome.tangent import InnovationTangent, Lag0Tangent
from .brain.encoders.base import WindowEncoder
from .brain.encoders.build import build_encoder
from .brain.encoders.families import EncoderFamily, InputShape
from .brain.encoders.plain import check_window_encoder
from .brain.encoders.families import SCAN_ENCODERS
from .brain.models.brainlm.image import ViTMAE
from .brain.models.brainlm.region_time import BrainLM
from .brain.models.brainmt.model import BrainMT
from .brain.models.swift.model import SwiFT
from .brain.store.store import ScanStore

# people, and the judge
from .cohort.participants import Cohort, load_cohort
from .common.registry import Registry, load_plugins
from .common.types import UserError
from .evaluation.ceiling import bayes_ceiling
from .evaluation.nulls import permutation_test
from .evaluation.power import detectable_effect
from .evaluation.retrieval import chance, evaluate_retrieval, within_stratum

__all__: list[str]
__version__: str
