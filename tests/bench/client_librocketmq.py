"""The same sends by `rocketmq` 0.4.4 of the package index, in an interpreter of its own.

    PEER_PYTHON tests/bench/client_librocketmq.py H:P TOPIC THREADS COUNT WARMUP

That package is Python over Apache's C++ client, and the nearest thing that speaks the remoting
protocol: see compare_clients.py. Nothing of broker_trio is imported here.
"""

import json
import sys
import threading
import time

from rocketmq.client import Message, Producer


def sends(producer, topic, threads, count):
    """`count` messages by all threads together; how many failed."""
    left, failed, lock = iter(range(count)), [], threading.Lock()

    def following():
        with lock:
            return next(left, None)

    def work():
        while following() is not None:
            message = Message(topic)
            message.set_body(b"x" * 128)
            if producer.send_sync(message).status != 0:
                failed.append(message)

    running = [threading.Thread(target=work) for _ in range(threads)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    return len(failed)


def main():
    nameserver, topic, *numbers = sys.argv[1:]
    threads, count, warmup = map(int, numbers)
    producer = Producer("librocketmq_load", timeout=10_000)
    producer.set_namesrv_addr(nameserver)
    producer.start()
    sends(producer, topic, threads, warmup)
    cpu, began = time.process_time(), time.perf_counter()
    failed = sends(producer, topic, threads, count)
    seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
    producer.shutdown()
    figures = {
        "mode": "produce", "messages": count, "failed": failed, "threads": threads,
        "seconds": round(seconds, 3), "per_second": round((count - failed) / seconds),
        "client_cpu_us": round(1e6 * cpu / count, 1),
    }  # fmt: skip
    sys.stdout.write(json.dumps(figures) + "\n")


if __name__ == "__main__":
    main()
