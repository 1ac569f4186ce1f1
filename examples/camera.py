"""A camera and a viewer share frames without a copy: python camera.py [SECONDS]

The camera is a process that publishes 60 frames of 1080 x 1920 pixels a second. The viewer takes
each of them. It prints the rate, the time from the publication to the view, and the frames missed.
"""

from __future__ import annotations

import multiprocessing
import sys
import time

import numpy as np

import ndshm

SHAPE = (1080, 1920, 3)
EXPOSURE = np.dtype([("seconds", "f4"), ("gain", "f4")])
RATE = 60.0


def camera(ring: ndshm.Ring, seconds: float) -> None:
    """Publish frames for so many seconds."""
    with ring.produce() as producer:
        # A frame that is published before the viewer subscribes is lost to it.
        producer.wait_subscribers(1, timeout=30)
        start = time.monotonic()
        for count in range(int(seconds * RATE)):
            time.sleep(max(0.0, start + count / RATE - time.monotonic()))
            with producer.next() as image:  # the memory that the viewer sees
                image[:, :960] = count % 256
                producer.info = {"seconds": 0.01, "gain": 2.0}
        producer.finish()


def main() -> None:
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 2.0
    context = multiprocessing.get_context("spawn")
    # The viewer waits no longer than this for a camera that does not come.
    with ndshm.Manager(lock_timeout=30) as m:
        # One frame to write, the newest one, and one that the loop holds, with some to spare.
        ring = m.ring(SHAPE, 6, "u1", info=EXPOSURE)
        process = context.Process(target=camera, args=(ring, seconds))
        process.start()
        delays, brightness = [], 0.0
        with ring.subscribe() as subscriber:
            for frame in subscriber:
                delays.append(time.time() - frame.time)
                brightness += float(frame[::60, ::60].mean()) * float(frame.info["gain"])
            missed = subscriber.missed
        process.join()
    delays.sort()
    print(f"{len(delays) / seconds:.1f} frames/s, {missed} missed")
    print(f"seen {delays[len(delays) // 2] * 1e6:.0f} us after the publication (median)")
    print(f"mean brightness {brightness / len(delays):.1f}")


if __name__ == "__main__":
    main()
