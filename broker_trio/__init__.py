"""broker_trio: a message broker and nameserver that RocketMQ clients use unmodified."""

__version__ = "0.1.0"
