"""An invented organisation that answers like the Cursor API, over HTTP, at a clock that can be set."""

from pipelines.simulator.behaviour import Behaviour, Fault, Glitch
from pipelines.simulator.evidence import SnapshotRead
from pipelines.simulator.organisation import Organisation
from pipelines.simulator.process import SimulatorProcess
from pipelines.simulator.server import RequestRecord, SimulatorServer
from pipelines.simulator.truth import TrueEvent, TrueMembership, Truth

__all__ = [
    "Behaviour",
    "Fault",
    "Glitch",
    "Organisation",
    "RequestRecord",
    "SimulatorProcess",
    "SimulatorServer",
    "SnapshotRead",
    "TrueEvent",
    "TrueMembership",
    "Truth",
]
