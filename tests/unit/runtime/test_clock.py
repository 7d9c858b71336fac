"""The server's clock, learned from its Date headers."""

import random
from collections.abc import Iterable
from email.utils import formatdate

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from scaleset.runtime.clock import CONFIRMATIONS, STANDSTILL_SECONDS, WINDOW, ServerClock


class World:
    """A server and this machine, each with a clock of its own. Seconds; the server's time is the true one."""

    def __init__(self, start: float = 1_800_000_000.37) -> None:
        self.true = start
        self.monotonic = 5000.0
        self.wall = start - 3600.0
        self.skew = 0.0
        self.clock = ServerClock(monotonic=lambda: self.monotonic, wall=lambda: self.wall)

    def passes(self, seconds: float) -> None:
        self.true += seconds
        self.monotonic += seconds
        self.wall += seconds

    def call(self, there: float = 0.005, back: float = 0.005) -> None:
        sent = self.monotonic
        self.passes(there)
        date = formatdate(self.true + self.skew, usegmt=True)
        self.passes(back)
        self.clock.observe(date, sent, self.monotonic)

    @property
    def error(self) -> float:
        return self.clock.now() - self.true


def test_before_the_first_response_it_is_the_wall_clock():
    world = World()
    assert not world.clock.known
    assert world.clock.now() == world.wall
    assert world.clock.uncertainty == float("inf")


def test_one_response_is_enough_for_half_a_second():
    world = World()
    world.call()
    assert world.clock.known
    assert abs(world.error) <= 0.52
    assert world.clock.uncertainty <= 0.52


def test_many_responses_narrow_it_to_the_round_trip():
    world = World()
    for _ in range(200):
        world.call()
        world.passes(0.137)
    assert world.clock.uncertainty < 0.05
    assert abs(world.error) < 0.55, "now() may wait, having been ahead by at most half a second"
    world.passes(60)
    assert abs(world.error) < 0.05


def test_it_never_goes_by_the_wall_clock_after_the_first_response():
    """Row 13: the machine's clock jumps by an hour, forward and back, in the middle of a wait."""
    world = World()
    world.call()
    before = world.clock.now()
    for jump in (3600.0, -7200.0, 1e9, -1e9):
        world.wall += jump
        world.passes(10)
        world.call()
        assert abs(world.error) < 0.6
    assert world.clock.now() - before == pytest.approx(40, abs=1.2)
    assert world.clock.steps == 0


def test_it_never_goes_back_while_it_learns():
    chance = random.Random(3)
    for _ in range(50):
        world = World(1_800_000_000 + chance.random())
        last = 0.0
        for _ in range(40):
            world.call(chance.random() * 0.3, chance.random() * 0.3)
            now = world.clock.now()
            assert now >= last
            assert abs(world.error) < 1.3
            last = now
            world.passes(chance.random())


def test_a_slow_response_does_not_spoil_what_is_known():
    world = World()
    for _ in range(100):
        world.call()
        world.passes(0.137)
    known = world.clock.uncertainty
    world.call(there=0.1, back=14)
    assert world.clock.uncertainty < known + 0.02


def test_one_odd_server_among_several_changes_nothing():
    world = World()
    world.call()
    for turn in range(40):
        world.skew = -90.0 if turn % 3 == 2 else 0.0
        world.call()
        world.passes(1)
        assert abs(world.error) < 0.6
    assert world.clock.steps == 0


def goes_evenly(seconds: float, skews: Iterable[float]) -> None:
    """One answer after the other, so many seconds apart, each with such a skew: no step, and never back."""
    world = World()
    world.call()
    last = world.clock.now()
    for skew in skews:
        world.passes(seconds)
        world.skew = skew
        world.call()
        assert world.clock.now() >= last
        last = world.clock.now()
        assert abs(world.error) < 0.6
    assert world.clock.steps == 0


def test_one_of_three_servers_that_is_five_seconds_ahead_moves_nothing():
    """A thousand seconds of it: no step, and time goes on as evenly as before."""
    chance = random.Random(1)
    goes_evenly(1, (5.0 if chance.randrange(3) == 2 else 0.0 for _ in range(1000)))


TURNS = st.lists(st.tuples(st.integers(0, 2), st.floats(0.0, 3.0), st.floats(0.001, 0.4)), min_size=1, max_size=120)
AHEAD = st.one_of(st.floats(-7200.0, 7200.0), st.floats(-3.0, 3.0))


@settings(max_examples=300, deadline=None)
@given(turns=TURNS, ahead=AHEAD, phase=st.floats(0.0, 0.999))
def test_one_of_three_servers_changes_nothing_however_far_it_is_off_and_whoever_answers(turns, ahead, phase):
    """As long as it does not give half of the answers, and never so many in a row that they look like all servers'."""
    world = World(1_800_000_000 + phase)
    odd = row = 0
    last = 0.0
    for count, (server, pause, there) in enumerate(turns, start=1):
        odd, row = odd + (server == 2), row + 1 if server == 2 else 0
        assume(2 * odd < count and row < CONFIRMATIONS)
        world.skew = ahead if server == 2 else 0.0
        world.call(there=there)
        assert world.clock.now() >= last
        last = world.clock.now()
        assert abs(world.error) < 1.0 + 0.4 + 0.005, "a second of the header, and the longest way there and back"
        world.passes(pause)
    assert world.clock.steps == 0


@settings(max_examples=200, deadline=None)
@given(turns=TURNS, ahead=AHEAD)
def test_two_servers_that_disagree_do_not_take_turns(turns, ahead):
    world = World()
    last, row, before = 0.0, 0, 0
    for server, pause, there in turns:
        row = row + 1 if server % 2 == before else 1
        before = server % 2
        assume(row < CONFIRMATIONS)
        world.skew = ahead * before
        world.call(there=there)
        assert world.clock.now() >= last
        last = world.clock.now()
        world.passes(pause)
    assert world.clock.steps <= 1, "the first answer may have been the only one of its kind"


@pytest.mark.parametrize("ahead", [5.0, -5.0, 90.0, 3600.0])
def test_two_servers_that_disagree_for_two_hours_do_not_take_turns(ahead):
    chance = random.Random(7)
    goes_evenly(2, (ahead * chance.randrange(2) for _ in range(4_000)))


@pytest.mark.parametrize("ahead", [5.0, -5.0, 90.0, -90.0])
def test_a_first_answer_from_the_one_server_that_is_wrong_is_corrected_once(ahead):
    chance = random.Random(5)
    world = World()
    world.skew = ahead
    world.call()
    last = world.clock.now()
    for _ in range(WINDOW):
        world.passes(1)
        world.skew = ahead if chance.randrange(3) == 2 else 0.0
        world.call()
        assert world.clock.now() >= last or ahead > STANDSTILL_SECONDS
        last = world.clock.now()
    assert abs(world.error) < 0.6
    assert world.clock.steps == 1


def test_a_small_step_back_is_waited_out():
    world = World()
    for _ in range(20):
        world.call()
        world.passes(0.3)
    world.true -= 5.0
    last = world.clock.now()
    for _ in range(3 * CONFIRMATIONS):
        world.call()
        world.passes(0.3)
        assert world.clock.now() >= last
        last = world.clock.now()
    assert abs(world.error) < 0.6
    assert world.clock.steps == 1


@pytest.mark.parametrize("jump", [3600.0, -3600.0, 5.0])
def test_a_step_of_the_servers_clock_is_believed_when_confirmed(jump):
    world = World()
    for _ in range(20):
        world.call()
        world.passes(0.3)
    world.true += jump
    for _ in range(CONFIRMATIONS - 1):
        world.call()
        assert abs(world.error + jump) < 0.6
    world.call()
    assert abs(world.error) < 0.6
    assert world.clock.steps == 1


def test_two_clocks_that_drift_apart_are_followed():
    world = World()
    for _ in range(3600):
        world.passes(1)
        world.true += 0.0002
        world.call()
    assert abs(world.error) < 0.6
    assert world.clock.steps == 0


@pytest.mark.parametrize("header", ["", "yesterday", "Wed, 99 Foo 2026 00:00:00 GMT"])
def test_a_header_that_is_no_date_is_ignored(header):
    world = World()
    world.clock.observe(header, 0.0, 1.0)
    assert not world.clock.known
