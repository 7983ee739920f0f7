"""Takes turns: each request that is there gets one response, then each gets its second, ..."""

import collections
import threading

import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def initialize(self, args):
        self._waiting = collections.deque()
        self._some = threading.Semaphore(0)
        self._ended = False
        self._thread = threading.Thread(target=self._take_turns)
        self._thread.start()

    def execute(self, requests):
        for request in requests:
            count = int(pb_utils.get_input_tensor_by_name(request, "COUNT").as_numpy()[0])
            self._waiting.append((request.get_response_sender(), 0, count))
            self._some.release()

    def _take_turns(self):
        while True:
            self._some.acquire()
            if self._ended:
                return
            sender, number, count = self._waiting.popleft()
            if sender.is_cancelled() or number == count:
                sender.send(flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
                continue
            tensor = pb_utils.Tensor("NUMBER", np.array([number], np.int32))
            sender.send(pb_utils.InferenceResponse([tensor]))
            self._waiting.append((sender, number + 1, count))
            self._some.release()

    def finalize(self):
        self._ended = True
        self._some.release()
        self._thread.join()
