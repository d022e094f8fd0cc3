"""What is measured: the list.  Each case takes the rig and the options and
returns (rows, verdicts).  A row is one proxy's figure with all its samples; a
verdict is one target.
"""

import cases_own
import cases_peers

CASES = {
    '128b': cases_peers.case_128b,
    '16k': cases_peers.case_16k,
    'grid': cases_peers.case_grid,
    'handshake': cases_peers.case_handshake,
    'latency': cases_peers.case_latency,
    'tls': cases_peers.case_tls,
    'json': cases_peers.case_json,
    'sse': cases_peers.case_sse,
    'idle': cases_peers.case_idle,
    'many': cases_peers.case_many,
    'instructions': cases_peers.case_instructions,
    'syscalls': cases_peers.case_syscalls,
    'replay': cases_own.case_replay,
    'lastwords': cases_own.case_lastwords,
    'change': cases_own.case_change,
    'pick': cases_own.case_pick,
    'stall': cases_own.case_stall,
}
