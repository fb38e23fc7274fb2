"""Producers and consumers over one bounded queue: the threads of an ordinary Python program."""
import queue
import threading

PRODUCERS, CONSUMERS, ITEMS = 8, 8, 5000

items = queue.Queue(maxsize=4)
totals = [0] * CONSUMERS


def produce(first):
    for number in range(first, PRODUCERS * ITEMS, PRODUCERS):
        items.put(number)


def consume(me):
    while (number := items.get()) is not None:
        totals[me] += number


producers = [threading.Thread(target=produce, args=(i,)) for i in range(PRODUCERS)]
consumers = [threading.Thread(target=consume, args=(i,)) for i in range(CONSUMERS)]
for thread in producers + consumers:
    thread.start()
for thread in producers:
    thread.join()
for _ in consumers:
    items.put(None)
for thread in consumers:
    thread.join()
print(f"{PRODUCERS * ITEMS} items, sum {sum(totals)}")
