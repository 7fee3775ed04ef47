"""Whether one of two is ahead of the other, asked as often as one likes: testing by betting.

Each paired difference d in [−1, 1] is bet on: wealth W ← W (1 + λ d), with a stake λ in [0, 1/2] that is fixed before d
is seen (I. Waudby-Smith and A. Ramdas, "Estimating means of bounded random variables by betting", J. R. Stat. Soc. B
86, 2024, Section 4). While no difference is above 0 on average, given all before it, W is a supermartingale from 1
on, and by Ville's inequality it ever reaches 1/α with a probability of at most α: however often it is looked at, and
however much one difference depends on those before it, as steps of one drive do.
"""

from __future__ import annotations

from dataclasses import dataclass

from uniair.errors import InputError

MOST = 0.5  # of a stake: so that no single step takes all
PRIOR, WORTH = 0.25, 20  # mean square of a difference before any is known, and how many differences that counts as


@dataclass
class Lead:
    """A bet that one is ahead of the other.

    The stake is the mean of recent differences over their mean square, what Kelly's rule comes to for small ones; where
    the mean is below 0 nothing is staked. So a time at which it was behind is forgotten, and costs nothing.

    Attributes:
        level: α, the share of the rounds at most in which one that is never ahead wins.
        recent: differences that the stake is learned from, the last ones more than those before.
        span: differences of a round, after which the wealth begins anew; else what was lost while the two were alike
            would have to be won back first.
        wealth: W; won: whether it ever reached 1/α.
        taken: differences so far.
        mean, square: of recent differences and of their squares.
    """

    level: float = 0.05
    recent: int = 400
    span: int = 3000
    wealth: float = 1.0
    won: bool = False
    taken: int = 0
    mean: float = 0.0
    square: float = PRIOR

    def __post_init__(self) -> None:
        if not 0 < self.level < 1 or self.recent < 1 or self.span < 1:
            raise InputError(
                f"level {self.level}, recent {self.recent}, span {self.span}: give a level between 0 and 1, and at "
                "least 1 difference each"
            )

    def take(self, difference: float) -> None:
        """Bets on one more difference, in [−1, 1]; above 0 where the one was better."""
        if self.taken % self.span == 0:
            self.wealth = 1.0
        stake = 0.0 if self.mean <= 0 else min(self.mean / self.square, MOST)
        self.wealth *= 1 + stake * difference
        self.won = self.won or self.wealth >= 1 / self.level
        self.taken += 1
        share = 1 / min(self.taken + WORTH, self.recent + WORTH)
        self.mean += share * (difference - self.mean)
        self.square += share * (difference**2 - self.square)

    def anew(self) -> Lead:
        """The same bet before any difference."""
        return Lead(self.level, self.recent, self.span)
