"""Random nights of a random organisation, one short life; `make soak` lives many more. What is checked: `nights.py`."""

from __future__ import annotations

from nights import Life


def test_after_random_nights_every_event_is_there_once_with_its_price_and_its_group(tmp_path):
    life = Life(seed=117, folder=tmp_path, nights=6)
    life.live()
    # the seed was chosen for a life in which things happen
    assert min(life.tally.faults, life.tally.runs - life.tally.nights, len(life.behaviour.glitches)) > 0
