"""What may go wrong with consuming, beside what every question may meet."""

from broker_trio.client.errors import ClientError, InvalidArgument


class GroupTaken(InvalidArgument):
    """This client already subscribes in that group: one client is one member of it."""

    def __init__(self, group: str) -> None:
        super().__init__(
            f"group {group} is subscribed to by this client already; one subscription can have "
            "several topics, and a second member of the group needs a client of its own"
        )
        self.group = group


class MessageSettled(ClientError):
    """A message that is entered a second time: it was acknowledged or given back before."""

    def __init__(self, message_id: str) -> None:
        super().__init__(f"message {message_id} was handled already; enter each message once")
        self.message_id = message_id


class NotSubscribed(ClientError):
    """A subscription that is used outside of its `async with`."""

    def __init__(self, group: str) -> None:
        super().__init__(f"enter the subscription of group {group} first: async with subscribe(…)")
