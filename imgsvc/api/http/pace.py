"""How slow a client may be, in either direction."""


class Pace:
    """Seconds of waiting that a client has left: a bucket that its bytes fill, at one second for `min_rate` of them.

    It holds no more than `grace_s`, so that a burst does not pay for hours of dripping afterwards.
    """

    def __init__(self, grace_s: float, min_rate: float) -> None:
        self._grace_s = grace_s
        self._min_rate = min_rate
        self.left_s = grace_s

    def record(self, bytes_: int, waited_s: float) -> None:
        """Counts what came of a wait for this client."""
        self.left_s = min(self._grace_s, self.left_s - waited_s + bytes_ / self._min_rate)
