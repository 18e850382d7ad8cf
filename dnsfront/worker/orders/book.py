"""The orders about the book of what the kernel answers."""

from __future__ import annotations

import mmap
import os

from dnsfront.ipc.messages import CloseBook, KeepBook
from dnsfront.kernel.book import Book
from dnsfront.worker.answering.bookkeeper import Bookkeeper
from dnsfront.worker.orders.orders import Orders


class BookOrders:
    """Gives the bookkeeper a book, and takes it away."""

    def __init__(self, orders: Orders, bookkeeper: Bookkeeper) -> None:
        self._bookkeeper = bookkeeper
        orders.on(KeepBook, self._on_keep)
        orders.on(CloseBook, self._on_close)

    def _on_keep(self, order: KeepBook) -> None:
        try:
            sets = mmap.mmap(order.sets_fd, order.sets_octets)
            answers = mmap.mmap(order.answers_fd, order.answers_octets)
        finally:
            os.close(order.sets_fd)
            os.close(order.answers_fd)
        self._bookkeeper.use(Book(memoryview(sets), memoryview(answers)))

    def _on_close(self, _order: CloseBook) -> None:
        self._bookkeeper.use(None)
