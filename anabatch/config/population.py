"""How models over all cells are fitted: their embedding, and their clusters."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from anabatch.config.section import Count, Integer, Positive, Real, Section


class EmbedConfig(Section):
    """Parameters of the Nyström kernel PCA.

    Attributes
    ----------
    landmarks : int
        Number of landmarks, m.
    landmark_method : {'kmeans', 'uniform'}
        `uniform` is the study's own choice.
    gamma : float or 'auto'
        Width of the RBF kernel; `auto` is one over the median squared distance of a pilot.
    components : int
        Components that are kept in the embedding (fewer if the landmarks give fewer).
    cutoff : float
        Eigenvalues below this share of the first are dropped.
    pilot : int
        Rows from which landmarks are chosen; at least 30 times the landmarks are used.
    chunk : int
        Rows that are processed at once.
    seed : int
        Seed of all drawing.
    refit_share : float
        The model is fitted again when new and gone rows are more than this share of the rows that it was
        fitted on.
    """

    landmarks: Annotated[Integer, Field(ge=2)] = 512
    landmark_method: Literal["kmeans", "uniform"] = "kmeans"
    gamma: Positive | Literal["auto"] = "auto"
    components: Count = 150
    cutoff: Positive = 1e-6
    pilot: Count = 20_000
    chunk: Count = 4_096
    seed: Integer = 0
    refit_share: Annotated[Real, Field(ge=0)] = 0.2


class ClusterConfig(Section):
    """Parameters of the clusters.

    Attributes
    ----------
    method : {'kmeans', 'lloyd', 'mixture'}
        `kmeans` finds centres on a pilot, and moves them in mini-batch rounds and two passes over all
        rows; `lloyd` in passes over all rows until they rest. `mixture` fits Gaussians with diagonal
        covariances on the pilot, and takes the most probable one.
    k : int
        Number of clusters.
    components : int
        Leading components of the embedding that are used.
    pilot, restarts : int
        Rows of the pilot, and k-means++ restarts on it.
    rounds : int
        Mini-batch passes over all chunks between the pilot and the two Lloyd passes.
    chunk : int
        Rows that are processed at once.
    seed : int
        Seed of all drawing.
    refit_share : float
        The model is fitted again when new and gone rows are more than this share of the rows that it was
        fitted on.
    refit : {'cold', 'warm'}
        How: `cold` starts anew, and gives the clusters the numbers of those that they continue; `warm`
        starts where the centres are, as long as embedding and parameters stay.
    new_kinds : {'propose', 'add'}
        What becomes of cells that lie far from all clusters and near to each other: they are told of,
        or become a cluster at once, if they are of three images or more.
    least_new : int
        Cells without which they are no new kind.
    """

    method: Literal["kmeans", "lloyd", "mixture"] = "kmeans"
    k: Annotated[Integer, Field(ge=2)] = 8
    components: Count = 35
    pilot: Count = 20_000
    restarts: Count = 10
    rounds: Annotated[Integer, Field(ge=0)] = 2
    chunk: Count = 4_096
    seed: Integer = 0
    refit_share: Annotated[Real, Field(ge=0)] = 0.2
    refit: Literal["cold", "warm"] = "cold"
    new_kinds: Literal["propose", "add"] = "propose"
    least_new: Count = 25
