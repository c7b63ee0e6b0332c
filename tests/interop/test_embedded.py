"""An unmodified Java client talks to the broker inside this very process, over loopback."""

from broker_trio.testing.threaded import ThreadedRocketMQ
from tests.interop.driver import Driver


def test_java_sends_and_reads_while_the_test_restarts_the_broker(
    rocketmq_threaded: ThreadedRocketMQ, any_driver: Driver, topic: str, group: str
) -> None:
    """What Java sent is in the test's hands, and Java finds it again after kill -9."""
    results = any_driver.ask(rocketmq_threaded, "send", "sync", topic, 20)
    assert {result["status"] for result in results} == {"SEND_OK"}
    sent = {f"m{number}" for number in range(20)}
    assert {message.body.decode() for message in rocketmq_threaded.messages(topic)} == sent
    rocketmq_threaded.restart_broker()
    again = any_driver.ask(rocketmq_threaded, "pull", group, topic)
    assert {message["body"] for message in again} == sent
