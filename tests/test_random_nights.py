"""Random nights of a random organisation, one short life; `make soak` lives many more. What is checked: `nights.py`."""

from __future__ import annotations

from nights import Life


def test_after_random_nights_every_event_seat_and_line_is_what_the_evidence_allows(tmp_path):
    life = Life(seed=115, folder=tmp_path, nights=6)
    life.live()
    # the seed was chosen for a life in which things happen
    tally = life.tally
    assert min(tally.faults, tally.runs - tally.nights, len(life.behaviour.glitches)) > 0
    assert min(tally.months_closed, tally.adjustments_compared, tally.seat_rows_compared) > 0
