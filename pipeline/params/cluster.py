"""Parameters of ``compute.cluster``; docs/clusters.md explains them."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from pipeline.params.types import Count, Group, OwnPath


class Tls(Group):
    """Files in PEM format, for an encrypted connection."""

    ca: OwnPath
    certificate: OwnPath
    key: OwnPath


class Address(Group):
    """A Dask scheduler that runs already.

    Attributes
    ----------
    scheduler
        Its address, such as ``tls://host:8786``, or its scheduler file.
    """

    kind: Literal["address"]
    scheduler: Annotated[str, Field(min_length=1)]
    tls: Tls | None = None


class Queue(Group):
    """Workers as jobs of a batch system, which dask-jobqueue submits.

    All other keys are arguments of ``SLURMCluster`` and so on, such as ``queue`` and ``walltime``.
    """

    model_config = ConfigDict(extra="allow")

    kind: Literal["slurm", "pbs", "lsf", "sge"]
    jobs: Count


Cluster = Annotated[Address | Queue, Field(discriminator="kind")]
