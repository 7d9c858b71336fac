"""Rounds of rollouts, and what is said of two contenders that took turns."""

from bench.contenders import chosen
from bench.plan import rounds_left
from bench.results import Results
from bench.tables import all_tables, turns_table
from bench.turns import Turn, busy, compared, limits_of


def turn(contender: str, number: int, seconds: float, *, cpu: float = 1.0, replicas: int = 100, loops: int = 0) -> Turn:
    return Turn(contender, "raised", replicas, loops, number, code="abc", seconds=seconds, cpu=cpu)


def made(*turns: Turn) -> Results:
    results = Results(about={})
    for each in turns:
        results.add(each)
    return results


def test_only_rollouts_of_the_same_round_are_compared():
    """The second round was slow for both, and the third is not there whole."""
    ours = [turn("ours", 1, 6.0), turn("ours", 2, 12.0), turn("ours", 3, 6.0)]
    theirs = [turn("deployment", 1, 6.0, cpu=2.0), turn("deployment", 2, 10.0)]
    found = compared(ours, theirs)
    assert found is not None
    seconds, cpu = found
    assert str(seconds) == "1.10 (1.00 to 1.20)"
    assert str(cpu) == "0.75 (0.50 to 1.00)"


def test_without_a_common_round_nothing_is_compared():
    assert compared([turn("ours", 1, 6.0)], [turn("deployment", 2, 6.0)]) is None


def test_a_table_compares_ours_with_others_and_names_the_code_that_was_measured():
    results = made(turn("ours", 1, 6.0), turn("ours-in-place", 1, 5.5), turn("deployment", 1, 6.0))
    table = turns_table(results, 100, 0)
    assert table.title == "In turns, N=100, on a quiet machine (abc)"
    assert [row[0] for row in table.rows] == ["ScaleSet ÷ Deployment", "ScaleSet in place ÷ Deployment"]
    assert table.rows[0][1:] == ("1", "6.0", "6.0", "1.00 (1.00 to 1.00)", "1.00 (1.00 to 1.00)")


def test_rows_beside_busy_loops_have_a_table_of_their_own():
    rows = [turn(name, 1, 6.0, loops=loops) for name in ("ours", "deployment") for loops in (0, 2)]
    titles = [table.title for table in all_tables(made(*rows))]
    assert titles == ["In turns, N=100, on a quiet machine (abc)", "In turns, N=100, beside 2 busy loops (abc)"]


def test_half_a_round_is_taken_again():
    results = made(turn("ours", 1, 6.0), turn("deployment", 1, 6.0), turn("ours", 2, 6.0))
    those = chosen("ours,deployment")[::2]
    assert [each.name for each in those] == ["ours", "deployment"]
    assert rounds_left(those, 100, results, rounds=3, busy=0) == [2, 3]
    assert rounds_left(those, 100, results, rounds=1, busy=2) == [1]


def test_new_turns_take_the_place_of_those_of_the_same_cell_only():
    before = made(turn("ours", 1, 9.0), turn("ours", 2, 9.0), turn("ours", 1, 20.0, replicas=500))
    kept = before.with_turns_of(made(turn("ours", 1, 6.0)))
    assert [(each.replicas, each.round, each.seconds) for each in kept.turns] == [(500, 1, 20.0), (100, 1, 6.0)]


def test_everybody_has_the_highest_limits_that_there_are():
    assert [limits_of(each) for each in chosen("ours,deployment")] == ["defaults", "defaults", "raised"]


def test_busy_loops_are_gone_afterwards():
    with busy(2) as loops:
        assert all(each.poll() is None for each in loops)
    assert all(each.poll() is not None for each in loops)
