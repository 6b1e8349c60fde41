"""Which frames are picked, from times alone."""

import itertools
import math
import random
from fractions import Fraction

import pytest

from pipeline.video.sampling import BestEffort, Clock, FrameSampler, nominal_rate


def pick(times: list[float], end: float, fps: float = 1.0, rate: float = 25.0) -> list[tuple]:
    """(seconds, frame number) of every sample."""
    sampler: FrameSampler[int] = FrameSampler(fps, rate)
    samples = []
    for number, time in enumerate(times):
        samples += sampler.push(time, number)
    return samples + list(sampler.finish(end))


def clock_times(raw: list[float | None], duration: float = 0.0, step: float = 0.04) -> list[float]:
    clock = Clock(step, duration)
    return [clock.tick(time) for time in raw]


@pytest.mark.parametrize("rate", [1, 2, 5, 8, 10, 12, 15, 24, 25, 30, 50, 60, 120])
def test_whole_rates_give_every_nth_frame_as_published(rate: int) -> None:
    for count in [*range(1, 3 * rate + 2), 40 * rate, 40 * rate + 1]:
        numbers = [n for _, n in pick([n / rate for n in range(count)], count / rate, rate=rate)]
        assert numbers == list(range(0, count, rate)), count


@pytest.mark.parametrize(
    "rate", [Fraction(30000, 1001), Fraction(24000, 1001), Fraction(60000, 1001)]
)
@pytest.mark.parametrize("rounded", [False, True])
def test_broadcast_rates_equal_the_published_rule_before_it_drifts(
    rate: Fraction, rounded: bool
) -> None:
    """Also with the millisecond times of Matroska."""
    count = round(8 * rate)
    times = [float(n / rate) for n in range(count)]
    times = [round(time, 3) for time in times] if rounded else times
    numbers = [n for _, n in pick(times, float(count / rate), rate=float(rate))]
    assert numbers == list(range(0, count, round(rate)))


def test_an_hour_at_29_97_stays_true_to_the_clock() -> None:
    rate = 30000 / 1001
    samples = pick([n / rate for n in range(round(3600 * rate))], 3600, rate=rate)
    assert len(samples) == 3600  # the published rule takes 3597
    assert max(abs(seconds - k) for k, (seconds, _) in enumerate(samples)) <= 0.501 / rate


def test_held_pictures_repeat_with_the_time_they_are_shown_at() -> None:
    assert pick([0.0, 0.2, 3.5, 9.0], 9.1) == [
        (0.0, 0),
        (1.0, 1),
        (2.0, 1),
        (3.0, 1),
        (4.0, 2),
        (5.0, 2),
        (6.0, 2),
        (7.0, 2),
        (8.0, 2),
        (9.0, 3),
    ]


def test_more_samples_than_frames() -> None:
    assert pick([0.0, 0.5], 1.0, fps=4, rate=2) == [(0.0, 0), (0.25, 0), (0.5, 1), (0.75, 1)]


def test_a_frame_held_over_damage_counts_for_its_own_sample_only() -> None:
    sampler: FrameSampler[str] = FrameSampler(1.0, 25.0)
    samples = [*sampler.push(0.0, "a"), *sampler.push(7.0, "b", hold=1.0), *sampler.finish(7.04)]
    assert samples == [(0.0, "a"), (7.0, "b")]


def test_seconds_ascend_for_any_times() -> None:
    draw = random.Random(7)
    for _ in range(300):
        fps, rate = draw.choice([0.1, 1, 3, 7.5, 60]), draw.choice([0.2, 9, 25, 29.97, 120])
        gaps = [draw.choice([0, 0.001, 1 / rate, 2.7]) for _ in range(60)]
        times = [0.0, *itertools.accumulate(gaps)]
        samples = pick(times, times[-1] + 1 / rate, fps, rate)
        seconds, numbers = [s for s, _ in samples], [n for _, n in samples]
        assert all(a < b for a, b in itertools.pairwise(seconds))
        assert numbers == sorted(numbers)
        assert samples[0][0] <= 0.05
        for k, (second, number) in enumerate(samples):
            assert abs(second - k / fps) <= 0.1
            assert times[number] <= k / fps + 0.05


def test_clock_starts_at_the_first_frame() -> None:
    assert clock_times([5.0, 5.04, 5.08]) == pytest.approx([0, 0.04, 0.08])
    assert clock_times([-0.08, -0.04, 0.0]) == pytest.approx([0, 0.04, 0.08])


def test_clock_counts_frames_where_there_are_no_times() -> None:
    assert clock_times([None] * 4) == pytest.approx([0, 0.04, 0.08, 0.12])
    assert clock_times([None, None, 9.0, 9.5]) == pytest.approx([0, 0.04, 0.08, 0.58])


def test_clock_counts_frames_when_time_stands_still() -> None:
    times = clock_times([1.0] * 200)
    assert times[-1] == pytest.approx(0.04 * 200, abs=0.4)


def test_clock_bears_disorder_without_drift() -> None:
    assert clock_times([0, 0.04, 0.12, 0.08, 0.16, 0.2]) == pytest.approx(
        [0, 0.04, 0.12, 0.12, 0.16, 0.2]
    )


def test_clock_runs_on_over_a_new_beginning() -> None:
    """Joined recordings: the second starts at zero again."""
    assert clock_times([50.0, 50.04, 0.0, 0.04, 0.08]) == pytest.approx([0, 0.04, 0.08, 0.12, 0.16])


def test_clock_refuses_a_leap_of_hours() -> None:
    assert clock_times([0, 0.04, 90000.0, 0.12, 0.16], duration=2.0) == pytest.approx(
        [0, 0.04, 0.08, 0.12, 0.16]
    )
    assert clock_times([0, 0.04, 90000.0, 90000.04]) == pytest.approx([0, 0.04, 0.08, 0.12])


def test_clock_believes_a_long_still_that_the_container_knows_of() -> None:
    assert clock_times([0, 500.0], duration=510.0) == [0, 500.0]
    assert clock_times([0, 30.0]) == [0, 30.0]
    assert clock_times([0, 500.0]) == [0, 0.04]


def test_random_times_cannot_make_endless_frames() -> None:
    draw = random.Random(3)
    raw = [draw.uniform(0, 1e7) for _ in range(2000)]
    assert clock_times(raw)[-1] < 2000 * 1.0 + 700
    assert clock_times(raw, duration=100.0)[-1] < 2000 * 1.0 + 800


def test_clock_end_of_the_last_frame() -> None:
    clock = Clock(0.04, 10.0)
    clock.tick(0.0)
    assert clock.end(None) == 0.04
    assert clock.end(4.0) == 4.0
    assert clock.end(1e6) == 0.04


def test_best_effort_prefers_the_order_that_does_not_run_backwards() -> None:
    best = BestEffort()
    chosen = [best.choose(p, d) for p, d in [(1, 1), (2, 2), (5, 4), (4, 5), (6, 6), (8, 7)]]
    assert chosen == [1, 2, 5, 5, 6, 7]
    assert BestEffort().choose(None, 3) == 3
    assert BestEffort().choose(7, None) == 7
    assert BestEffort().choose(None, None) is None


def test_nominal_rate_takes_the_first_believable() -> None:
    assert nominal_rate(0.0, 30.0) == 30.0
    assert nominal_rate(90000.0, 24.0) == 24.0
    assert nominal_rate(None, math.inf) == 25.0
