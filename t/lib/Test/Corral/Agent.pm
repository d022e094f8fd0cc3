package Test::Corral::Agent;

# An agent that does what a test wants of it.  It serves WebSocket, HTTP and SSE
# in one process with one loop, and shares no code with Corral.
#
# What one request gets is said by its path, as the agent sees it:
#
#   /status/503      that status        /hang    no answer
#   /drop            end without answer /reset   a TCP reset
#   /sse?n=3         so many events, then the end; without n it stays open
#   /chunked         a chunked body     /big?n=  so many bytes
#   others           JSON {agent, method, uri, head, length, sha1, body}
#
# and its arguments "say" are headers of the answer: ?say=X-Word:a%20b
#
# What one message gets is said by its text:
#
#   !id              the agent's id     !head    the request's head
#   !close CODE TEXT a Close            !drop    the end, without a Close
#   !reset           a TCP reset        !die     the process ends
#   !ping TEXT       a ping             !raw HEX these bytes
#   !send N          a message of N bytes; "!send N close": then Close and end
#   !delay MS TEXT   TEXT, later        !stall   no more reading here
#   others           the same message back
#
# With set(rpc => 1) a JSON object is a request of JSON-RPC; its method says:
#
#   id               result: the agent's id       hold   no answer
#   echo             result: params               die drop reset   as above
#   init             result: "ready"
#   part             results with "final": false, as many as params says
#   stream           the same, and then one with "final": true
#   fill             result: so many bytes as params says
#   later            result: "late", after so many ms as params says
#
# and one without an id gets no answer.  rpc_die names a method that kills the
# process whenever it comes; with mute nothing is answered.
#
# set(), ask() and their like talk to the process from the test.

use warnings;
use strict;

use Digest::SHA qw/sha1_hex/;
use IO::Select;
use IO::Socket::INET;
use IO::Socket::UNIX;
use JSON::PP;
use POSIX qw//;
use Socket qw/AF_UNIX SOCK_STREAM PF_UNSPEC SOL_SOCKET SO_LINGER
    IPPROTO_TCP TCP_NODELAY/;
use Time::HiRes qw/time/;

use Test::Corral::WebSocket qw/:frames/;

use constant KEPT => 1000;              # frames and requests remembered

my $json = JSON::PP->new->canonical->allow_nonref->latin1;


###############################################################################
# In the test.
###############################################################################

# Options: id, port (virtual) or socket (a name in the test's directory), and
# the initial values of set().

sub new {
    my ($class, $t, %opt) = @_;

    socketpair my $ours, my $theirs, AF_UNIX, SOCK_STREAM, PF_UNSPEC
        or die "Can't make a socket pair: $!\n";

    my $self = bless { t => $t, id => $opt{id} // 'agent', %opt }, $class;

    if ($opt{socket}) {
        $self->{path} = $t->testdir() . "/$opt{socket}";
        $self->{address} = "unix:$self->{path}";

    } else {
        $self->{address} = '127.0.0.1:' . $t->port($opt{port});
    }

    $self->{pid} = $t->run_daemon(sub {
        CORE::close $ours;
        $self->_serve($theirs, %opt);
    });

    CORE::close $theirs;
    $self->{control} = $ours;
    $self->ask('ready');

    return $self;
}

sub id { $_[0]{id} }
sub pid { $_[0]{pid} }
sub address { $_[0]{address} }

# The members of an instance in state_file().

sub instance {
    my ($self, $service, %more) = @_;
    return { id => $self->{id}, service => $service,
        address => $self->{address}, %more };
}

# Changes what the agent does from now on:
#
#   mode      ok, hang, drop, reset, or a status: to every request; raw: the
#             bytes in raw, then the end
#   delay     seconds before the answer to a handshake or request
#   accept    another Sec-WebSocket-Accept    headers   more header lines
#   greeting  bytes sent in one write with the 101
#   pong      0: pings are not answered       closes    0: nor is a Close
#   stall     1: reads nothing on open connections
#   echo      0: messages are not answered    prefix    before each echo
#   leave     1: ends each WebSocket as soon as it is open

sub set {
    my ($self, %opt) = @_;
    $self->ask('set', \%opt);
    return $self;
}

# { accepted open websockets requests messages pings pongs out (bytes written)
# closes: [codes] }

sub stats { $_[0]->ask('stats') }

# Heads of the requests so far; frames: [ { fin rsv opcode mask size sha1
# payload (of small ones), raw (likewise) } ].

sub requests { @{ $_[0]->ask('requests') } }
sub frames { @{ $_[0]->ask('frames') } }

# Sends a message to all its WebSockets; with hex bytes as they are.

sub push_text { $_[0]->ask('push', $_[1]) }
sub push_raw { $_[0]->ask('push_raw', unpack 'H*', $_[1]) }

# Refuses connections, or listens again.

sub refuse { $_[0]->ask('refuse') }
sub listen { $_[0]->ask('listen') }

# Ends all connections without a Close; 'reset': by a RST.

sub drop { $_[0]->ask('drop', $_[1] // 'eof') }

sub stop {
    my ($self, $signal) = @_;
    $self->{t}->stop_daemon($self->{pid}, $signal);
    return $self;
}

sub ask {
    my ($self, $what, $arg) = @_;

    my $s = $self->{control};
    local $SIG{PIPE} = 'IGNORE';

    syswrite $s, $json->encode([ $what, $arg ]) . "\n"
        or die "Agent $self->{id} is gone\n";

    my $answer = '';

    until ($answer =~ /\n\z/) {
        IO::Select->new($s)->can_read(10)
            or die "Agent $self->{id} does not answer\n";
        sysread $s, $answer, 65536, length $answer
            or die "Agent $self->{id} is gone\n";
    }

    return $json->decode($answer)->[0];
}


###############################################################################
# In the process of the agent.
###############################################################################

sub _serve {
    my ($self, $control, %opt) = @_;

    $SIG{PIPE} = 'IGNORE';
    $control->blocking(0);

    %$self = (
        id => $self->{id}, path => $self->{path}, address => $self->{address},
        control => $control, in => '', conns => {}, timers => [],
        set => { mode => 'ok', pong => 1, closes => 1, echo => 1, %opt },
        stats => { map({ $_ => 0 } qw/accepted requests messages pings pongs out/),
            closes => [] },
        requests => [], frames => [],
    );

    $self->_listen();

    while (1) {
        my ($r, $w) = (IO::Select->new($control), IO::Select->new());

        $r->add($self->{listen}) if $self->{listen};

        for my $c (values %{ $self->{conns} }) {
            $r->add($c->{s}) unless $c->{stall} || $self->{set}{stall};
            $w->add($c->{s}) if length $c->{out} || $c->{fin};
        }

        my ($can_r, $can_w) = IO::Select->select($r, $w, undef,
            $self->_next_timer());

        for my $s (@{ $can_w // [] }) {
            $self->_flush($self->{conns}{$s}) if $self->{conns}{$s};
        }

        for my $s (@{ $can_r // [] }) {
            if ($s == $control) {
                $self->_control() or return;

            } elsif ($self->{listen} && $s == $self->{listen}) {
                $self->_accept();

            } elsif ($self->{conns}{$s}) {
                $self->_read($self->{conns}{$s});
            }
        }

        $self->_run_timers();
    }
}

sub _listen {
    my ($self) = @_;

    if ($self->{path}) {
        unlink $self->{path};
        $self->{listen} = IO::Socket::UNIX->new(
            Local => $self->{path}, Listen => 511);

    } else {
        $self->{listen} = IO::Socket::INET->new(Proto => 'tcp',
            LocalAddr => $self->{address}, Listen => 511, ReuseAddr => 1);
    }

    die "Can't listen on $self->{address}: $!\n" unless $self->{listen};
    $self->{listen}->blocking(0);
}

sub _control {
    my ($self) = @_;

    my $n = sysread $self->{control}, $self->{in}, 65536, length $self->{in};
    return if defined $n && $n == 0;

    while ($self->{in} =~ s/^(.*)\n//) {
        my ($what, $arg) = @{ $json->decode($1) };
        my $answer = $json->encode([ $self->_command($what, $arg) ]) . "\n";

        $self->{control}->blocking(1);
        syswrite $self->{control}, $answer;
        $self->{control}->blocking(0);
    }

    return 1;
}

sub _command {
    my ($self, $what, $arg) = @_;

    my @conns = values %{ $self->{conns} };
    my @ws = grep { $_->{ws} } @conns;

    if ($what eq 'set') {
        $self->{set} = { %{ $self->{set} }, %$arg };

    } elsif ($what eq 'stats') {
        return { %{ $self->{stats} }, open => scalar @conns,
            websockets => scalar @ws };

    } elsif ($what eq 'requests' || $what eq 'frames') {
        return $self->{$what};

    } elsif ($what eq 'push') {
        $self->_send($_, build_frame(TEXT, $arg)) for @ws;
        return scalar @ws;

    } elsif ($what eq 'push_raw') {
        $self->_send($_, pack 'H*', $arg) for @ws;
        return scalar @ws;

    } elsif ($what eq 'refuse') {
        CORE::close(delete $self->{listen}) if $self->{listen};
        unlink $self->{path} if $self->{path};

    } elsif ($what eq 'listen') {
        $self->_listen() unless $self->{listen};

    } elsif ($what eq 'drop') {
        $self->_end($_, $arg) for @conns;
        return scalar @conns;
    }

    return 1;
}

sub _accept {
    my ($self) = @_;

    while (my $s = $self->{listen}->accept()) {
        $s->blocking(0);
        setsockopt $s, IPPROTO_TCP, TCP_NODELAY, 1 unless $self->{path};
        $self->{stats}{accepted}++;
        $self->{conns}{$s} = { s => $s, in => '', out => '' };
    }
}

sub _read {
    my ($self, $c) = @_;

    my $n = sysread $c->{s}, $c->{in}, 262144, length $c->{in};

    return if !defined $n && ($!{EAGAIN} || $!{EWOULDBLOCK});
    return $self->_end($c) unless $n;

    if ($c->{ws}) {
        $self->_frames($c);

    } elsif (!$c->{busy}) {
        $self->_http($c);
    }
}

sub _send {
    my ($self, $c, $bytes) = @_;
    return unless $self->{conns}{$c->{s}};

    # nothing goes behind the end: a write would fail, and close the socket with
    # unread input, which is a reset that destroys what is in flight

    return if $c->{finished};

    $c->{out} .= $bytes;
    $self->_flush($c);
}

sub _flush {
    my ($self, $c) = @_;

    return unless $self->{conns}{$c->{s}};      # it has ended

    while (length $c->{out}) {
        my $n = syswrite $c->{s}, $c->{out}, 262144;

        unless (defined $n) {
            return if $!{EAGAIN} || $!{EWOULDBLOCK};
            return $self->_end($c);
        }

        substr $c->{out}, 0, $n, '';
        $self->{stats}{out} += $n;
    }

    # all is written: the end that was asked for; the other side's is awaited,
    # so that nothing in flight is lost by a reset

    if ($c->{fin}) {
        $c->{fin} = 0;
        shutdown $c->{s}, 1;
    }
}

sub _end {
    my ($self, $c, $how) = @_;

    return unless delete $self->{conns}{$c->{s}};

    setsockopt $c->{s}, SOL_SOCKET, SO_LINGER, pack 'II', 1, 0
        if ($how // '') eq 'reset';
    CORE::close($c->{s});
}

sub _later {
    my ($self, $seconds, $code) = @_;
    push @{ $self->{timers} }, [ time() + $seconds, $code ];
}

sub _next_timer {
    my ($self) = @_;

    my ($next) = sort { $a <=> $b } map { $_->[0] } @{ $self->{timers} };
    return unless defined $next;

    my $left = $next - time();
    return $left > 0 ? $left : 0;
}

sub _run_timers {
    my ($self) = @_;

    my $now = time();
    my @due = grep { $_->[0] <= $now } @{ $self->{timers} };

    @{ $self->{timers} } = grep { $_->[0] > $now } @{ $self->{timers} };
    $_->[1]->() for @due;
}


###############################################################################
# HTTP.
###############################################################################

sub _http {
    my ($self, $c) = @_;

    $c->{in} =~ /\A(.*?\r\n\r\n)/s or return;
    my ($head, $rest) = ($1, substr $c->{in}, length $1);
    my ($length) = $head =~ /^content-length:\s*(\d+)/mi;
    my $body = '';

    if ($head =~ /^transfer-encoding:\s*chunked/mi) {
        $rest =~ s/\A((?:[0-9a-f]+\r\n.*?\r\n)*?0\r\n\r\n)//si or return;
        $body = $1;

    } elsif ($length) {
        return if length $rest < $length;
        $body = substr $rest, 0, $length, '';
    }

    $c->{in} = $rest;
    $c->{busy} = 1;

    $self->{stats}{requests}++;
    $self->{stats}{sha1} = sha1_hex($body);
    push @{ $self->{requests} }, $head if @{ $self->{requests} } < KEPT;

    my $answer = sub { $self->_answer($c, $head, $body) };

    return $self->_later($self->{set}{delay}, $answer) if $self->{set}{delay};
    $answer->();
}

sub _answer {
    my ($self, $c, $head, $body) = @_;

    my ($method, $uri) = $head =~ /\A(\S+) (\S+)/;
    my $set = $self->{set};
    my $mode = $set->{mode};

    $mode = $1 if $uri =~ m{^/(hang|drop|reset)\b};
    $mode = $1 if $uri =~ m{^/status/(\d+)};

    return if $mode eq 'hang';
    return $self->_end($c, $mode) if $mode =~ /^(drop|reset)$/;

    if ($mode eq 'raw') {
        $self->_send($c, $set->{raw});
        return $self->_finish($c);
    }

    if ($mode eq 'ok' && $head =~ /^upgrade:\s*websocket/mi) {
        return $self->_upgrade($c, $head);
    }

    my ($n) = $uri =~ /[?&]n=(\d+)/;

    if ($mode ne 'ok') {
        $self->_respond($c, $head, $mode, "agent $self->{id} says $mode\n");

    } elsif ($uri =~ m{^/sse\b}) {
        $self->_sse($c, $head, $n);

    } elsif ($uri =~ m{^/chunked\b}) {
        $self->_send($c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n"
            . "X-Agent: $self->{id}\r\n\r\n"
            . "5\r\nhello\r\n7\r\n, world\r\n0\r\n\r\n");
        $c->{busy} = 0;

    } elsif ($uri =~ m{^/big\b}) {
        $self->_respond($c, $head, 200, 'x' x $n);

    } else {
        $self->_respond($c, $head, 200, $json->encode({ agent => $self->{id},
            method => $method, uri => $uri, head => $head,
            length => length $body, sha1 => sha1_hex($body),
            length $body <= 1024 ? (body => $body) : () }));
    }
}

sub _respond {
    my ($self, $c, $head, $status, $body) = @_;

    my $last = $head =~ /^connection:\s*close/mi || $head =~ m{ HTTP/1\.0\r};

    $self->_send($c, join "\r\n", "HTTP/1.1 $status Status $status",
        "X-Agent: $self->{id}", 'Content-Length: ' . length $body,
        $last ? 'Connection: close' : (), @{ $self->{set}{headers} // [] },
        _said($head), '', $body);

    return unless $self->{conns}{$c->{s}};

    $c->{busy} = 0;
    return $self->_finish($c) if $last;
    $self->_http($c) if length $c->{in};
}

# The headers that the request wants to hear.

sub _said {
    my ($head) = @_;
    my ($uri) = $head =~ /\A\S+ (\S+)/;
    return map { s/%([0-9a-f]{2})/chr hex $1/ger } $uri =~ /[?&]say=([^&]*)/g;
}

sub _finish {
    my ($self, $c) = @_;
    $c->{fin} = 1;
    $c->{finished} = 1;
    $self->_flush($c);
}

sub _sse {
    my ($self, $c, $head, $n) = @_;

    $self->_send($c, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
        . "Cache-Control: no-store\r\nConnection: close\r\n"
        . join("\r\n", "X-Agent: $self->{id}", _said($head), '', ''));

    my $event = 0;
    my $next;

    $next = sub {
        $event++;
        $self->_send($c, "id: $event\ndata: {\"n\":$event}\n\n");
        return $self->_finish($c) if defined $n && $event >= $n;
        $self->_later(0.05, $next) if $self->{conns}{$c->{s}};
    };

    $next->();
}


###############################################################################
# WebSocket.
###############################################################################

sub _upgrade {
    my ($self, $c, $head) = @_;

    my $set = $self->{set};
    my ($key) = $head =~ /^sec-websocket-key:\s*(\S+)/mi;

    $c->{ws} = 1;
    $c->{head} = $head;

    $self->_send($c, join("\r\n", 'HTTP/1.1 101 Switching Protocols',
        'Upgrade: websocket', 'Connection: Upgrade',
        'Sec-WebSocket-Accept: ' . ($set->{accept} // accept_key($key // '')),
        @{ $set->{headers} // [] }, _said($head), '', '')
        . ($set->{greeting} // ''));

    return $self->_end($c) if $set->{leave};
    $self->_frames($c) if length $c->{in};
}

sub _frames {
    my ($self, $c) = @_;

    while (!$c->{stall} && $self->{conns}{$c->{s}}
        && (my $f = parse_frame(\$c->{in})))
    {
        $self->_remember($f);

        if ($f->{opcode} == PING) {
            $self->{stats}{pings}++;
            $self->_send($c, build_frame(PONG, $f->{payload}))
                if $self->{set}{pong};

        } elsif ($f->{opcode} == PONG) {
            $self->{stats}{pongs}++;

        } elsif ($f->{opcode} == CLOSE) {
            push @{ $self->{stats}{closes} },
                length $f->{payload} > 1 ? unpack 'n', $f->{payload} : 1005;
            next unless $self->{set}{closes};
            $self->_send($c, build_frame(CLOSE, substr $f->{payload}, 0, 2))
                unless $c->{close_sent};
            $self->_finish($c);

        } else {
            ($c->{message}, $c->{opcode}) = ('', $f->{opcode})
                if $f->{opcode} != CONT;
            $c->{message} .= $f->{payload};
            $self->_message($c) if $f->{fin};
        }
    }
}

sub _remember {
    my ($self, $f) = @_;

    return if @{ $self->{frames} } >= KEPT;

    my $small = length $f->{payload} <= 1024;

    push @{ $self->{frames} }, {
        fin => $f->{fin}, rsv => $f->{rsv}, opcode => $f->{opcode},
        mask => defined $f->{mask} ? unpack('H*', $f->{mask}) : undef,
        size => length $f->{payload}, sha1 => sha1_hex($f->{raw}),
        $small ? (payload => $f->{payload}, raw => unpack 'H*', $f->{raw}) : (),
    };
}

sub _message {
    my ($self, $c) = @_;

    my ($m, $set) = ($c->{message}, $self->{set});
    my $text = sub { $self->_send($c, build_frame(TEXT, $_[0])) };

    $self->{stats}{messages}++;

    # nothing is said after a Close; what still comes is read, so that the end is
    # no reset

    if ($c->{close_sent}) {
        return;

    } elsif ($set->{rpc} && $m =~ /^\{/) {
        $self->_rpc($c, $json->decode($m), $text);

    } elsif ($m =~ /^!id$/) {
        $text->($self->{id});

    } elsif ($m =~ /^!head$/) {
        $text->($c->{head});

    } elsif ($m =~ /^!close (\d+) ?(.*)$/) {
        $c->{close_sent} = 1;
        $self->_send($c, build_frame(CLOSE, pack('n', $1) . $2));

    } elsif ($m =~ /^!(drop|reset)$/) {
        $self->_end($c, $1);

    } elsif ($m =~ /^!die$/) {
        POSIX::_exit(1);

    } elsif ($m =~ /^!ping ?(.*)$/) {
        $self->_send($c, build_frame(PING, $1));

    } elsif ($m =~ /^!raw ([0-9a-f]*)$/) {
        $self->_send($c, pack 'H*', $1);

    } elsif ($m =~ /^!send (\d+)( close)?$/) {
        my ($n, $close) = ($1, $2);
        $self->_send($c, build_frame(BINARY, substr
            join('', map { chr } 0 .. 255) x ($n / 256 + 1), 0, $n));

        if ($close) {
            $c->{close_sent} = 1;
            $self->_send($c, build_frame(CLOSE, pack 'n', 1000));
            $self->_finish($c);
        }

    } elsif ($m =~ /^!delay (\d+) (.*)$/s) {
        my $answer = $2;
        $self->_later($1 / 1000, sub { $text->($answer) });

    } elsif ($m =~ /^!stall$/) {
        $c->{stall} = 1;

    } elsif ($set->{echo}) {
        $self->_send($c, build_frame($c->{opcode}, ($set->{prefix} // '')
            . $m));
    }
}

sub _rpc {
    my ($self, $c, $m, $text) = @_;

    my ($method, $id, $params) = @$m{qw/method id params/};
    my $result = sub {
        $text->($json->encode({ jsonrpc => '2.0', id => $id, result => $_[0] }))
            if defined $id;
    };

    POSIX::_exit(1)
        if $method eq 'die' || $method eq ($self->{set}{rpc_die} // '');

    if ($self->{set}{mute}) {
        return;

    } elsif ($method =~ /^(drop|reset)$/) {
        $self->_end($c, $1);

    } elsif ($method eq 'id') {
        $result->($self->{id});

    } elsif ($method eq 'init') {
        $result->('ready');

    } elsif ($method eq 'echo') {
        $result->($params);

    } elsif ($method eq 'fill') {
        $result->('x' x $params);

    } elsif ($method eq 'later') {
        $self->_later($params / 1000,
            sub { $result->('late') if $self->{conns}{$c->{s}} });

    } elsif ($method =~ /^(part|stream)$/) {
        $result->({ final => JSON::PP::false, n => $_ }) for 1 .. $params;
        $result->({ final => JSON::PP::true, agent => $self->{id} })
            if $method eq 'stream';
    }
}

###############################################################################

1;
