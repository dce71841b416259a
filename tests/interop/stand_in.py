# SPDX-License-Identifier: Apache-2.0
"""The process of a child that golden.py plays: tells it the arguments, ends when it hangs up."""
import ast
import json
import socket
import sys

control, *words = sys.argv[1:]
options = {word: words[i + 1] for i, word in enumerate(words[:-1]) if word.startswith('--')}
with socket.socket(socket.AF_UNIX) as sock:
    sock.connect(control)
    sock.sendall(json.dumps({'uid': ast.literal_eval(options['--uid']),
                             'parent_addr': ast.literal_eval(options['--parent_addr'])}).encode()
                 + b'\n')
    sock.recv(1)
