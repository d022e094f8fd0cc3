package Test::Corral::WebSocket;

# A WebSocket client on a raw socket that can do everything wrong: any bytes
# for a handshake, any frame, one byte at a time.  It shares no code with
# Corral.  The functions for frames serve Test::Corral::Agent as well.

use warnings;
use strict;

use Digest::SHA qw/sha1_base64/;
use Exporter qw/import/;
use IO::Select;
use IO::Socket::INET;
use IO::Socket::UNIX;
use Socket qw/SOL_SOCKET SO_LINGER SO_RCVBUF IPPROTO_TCP TCP_NODELAY/;
use Time::HiRes qw/sleep time/;

our @EXPORT_OK = qw/build_frame parse_frame accept_key
    CONT TEXT BINARY CLOSE PING PONG/;
our %EXPORT_TAGS = (frames => [ @EXPORT_OK ]);

use constant {
    CONT => 0, TEXT => 1, BINARY => 2, CLOSE => 8, PING => 9, PONG => 10,
};


###############################################################################
# Frames.
###############################################################################

# Options: fin (1), rsv (0 .. 7), mask (four bytes, or undef for none), form (7,
# 16 or 64: the form of the length, by default the shortest), len (a length
# that is not the true one).

sub build_frame {
    my ($opcode, $payload, %opt) = @_;

    my $len = $opt{len} // length $payload;
    my $form = $opt{form} // ($len < 126 ? 7 : $len < 65536 ? 16 : 64);
    my $masked = defined $opt{mask} ? 0x80 : 0;

    my $first = (($opt{fin} // 1) ? 0x80 : 0) | (($opt{rsv} // 0) << 4)
        | $opcode;

    my $head = $form == 7 ? pack('C C', $first, $masked | $len)
        : $form == 16 ? pack('C C n', $first, $masked | 126, $len)
        : pack('C C Q>', $first, $masked | 127, $len);

    return $head . $payload unless $masked;
    return $head . $opt{mask} . _mask($payload, $opt{mask});
}

# Takes one frame off the buffer: { fin rsv opcode mask payload raw }, or undef
# if it is not whole.

sub parse_frame {
    my ($buf) = @_;

    return if length $$buf < 2;

    my ($first, $second) = unpack 'C C', $$buf;
    my ($at, $len) = (2, $second & 0x7f);

    if ($len == 126) {
        return if length $$buf < 4;
        ($at, $len) = (4, unpack 'n', substr $$buf, 2, 2);

    } elsif ($len == 127) {
        return if length $$buf < 10;
        ($at, $len) = (10, unpack 'Q>', substr $$buf, 2, 8);
    }

    my $masked = $second & 0x80 ? 4 : 0;
    return if length $$buf < $at + $masked + $len;

    my $raw = substr $$buf, 0, $at + $masked + $len, '';
    my $mask = $masked ? substr $raw, $at, 4 : undef;
    my $payload = substr $raw, $at + $masked;

    return {
        fin => $first & 0x80 ? 1 : 0,
        rsv => ($first >> 4) & 7,
        opcode => $first & 15,
        mask => $mask,
        payload => $masked ? _mask($payload, $mask) : $payload,
        raw => $raw,
    };
}

sub _mask {
    my ($payload, $mask) = @_;
    my $n = length $payload;
    return $payload ^ substr $mask x ($n / 4 + 1), 0, $n;
}

sub accept_key {
    my ($key) = @_;
    return sha1_base64($key . '258EAFA5-E914-47DA-95CA-C5AB0DC85B11') . '=';
}


###############################################################################
# The client.
###############################################################################

# Connects, sends a handshake and reads the answer's head.  Options:
#
#   port or socket    where to
#   path              request target
#   headers           more header lines
#   key version host origin protocol   of the handshake; undef leaves it out
#   raw               these bytes instead of a handshake
#   after             bytes sent in the same write as the handshake
#   start             1: sends, but does not read the answer: see handshake()
#   ssl               1: over TLS, without verification
#   rcvbuf            size of the receive buffer, for slow readers
#   timeout           of reading, 5 seconds

sub new {
    my ($class, %opt) = @_;

    my $self = bless {
        in => '', head => '', closed => 0, timeout => $opt{timeout} // 5,
        messages => [], pongs => [], pings => [], auto => 1,
    }, $class;

    $self->{socket} = $self->_connect(%opt);
    $self->send_raw(($opt{raw} // $self->_handshake(%opt))
        . ($opt{after} // ''));
    $self->handshake() unless $opt{start};

    return $self;
}

sub _connect {
    my ($self, %opt) = @_;

    my $s = $opt{socket}
        ? IO::Socket::UNIX->new(Peer => $opt{socket})
        : IO::Socket::INET->new(
            Proto => 'tcp', PeerAddr => $opt{host_ip} // '127.0.0.1',
            PeerPort => $opt{port},
            $opt{rcvbuf} ? (Sockopts => [ [ SO_RCVBUF, $opt{rcvbuf} ] ]) : ())
        or die "Can't connect: $!\n";

    unless ($opt{socket}) {
        setsockopt $s, IPPROTO_TCP, TCP_NODELAY, 1;
    }

    if ($opt{ssl}) {
        require IO::Socket::SSL;
        IO::Socket::SSL->start_SSL($s, SSL_verify_mode => 0)
            or die "No TLS: " . IO::Socket::SSL::errstr() . "\n";
    }

    $s->blocking(0);

    return $s;
}

sub _handshake {
    my ($self, %opt) = @_;

    my %h = (
        host => 'localhost', version => 13,
        key => 'dGhlIHNhbXBsZSBub25jZQ==', upgrade => 'websocket',
        connection => 'Upgrade', method => 'GET', http => 'HTTP/1.1', %opt);

    my @lines = ("$h{method} $h{path} $h{http}");

    for ([ host => 'Host' ], [ upgrade => 'Upgrade' ],
        [ connection => 'Connection' ], [ key => 'Sec-WebSocket-Key' ],
        [ version => 'Sec-WebSocket-Version' ], [ origin => 'Origin' ],
        [ protocol => 'Sec-WebSocket-Protocol' ],
        [ extensions => 'Sec-WebSocket-Extensions' ])
    {
        push @lines, "$_->[1]: $h{$_->[0]}" if defined $h{$_->[0]};
    }

    $self->{accept} = accept_key($h{key}) if defined $h{key};

    return join "\r\n", @lines, @{ $opt{headers} // [] }, '', '';
}

# Reads the head of the answer; with a status other than 101 its body, too.

sub handshake {
    my ($self, $timeout) = @_;

    my $end = time() + ($timeout // $self->{timeout});
    my $at;

    while (($at = index $self->{in}, "\r\n\r\n") < 0) {
        return $self unless $self->_fill($end - time());
    }

    $self->{head} = substr $self->{in}, 0, $at + 4, '';

    return $self if $self->status() == 101;

    my ($length) = $self->header('content-length');
    my $chunked = ($self->header('transfer-encoding') // '') =~ /chunked/i;

    until (defined $length && length $self->{in} >= $length
        || $chunked && $self->{in} =~ /(^|\r\n)0\r\n\r\n\z/)
    {
        last unless $self->_fill($end - time());
    }

    $self->{body} = $self->{in};
    $self->{body} = _unchunk($self->{body}) if $chunked;

    return $self;
}

sub _unchunk {
    my ($body) = @_;
    my $all = '';

    while ($body =~ s/\A([0-9a-f]+)\r\n//i) {
        my $n = hex $1 or last;
        $all .= substr $body, 0, $n, '';
        $body =~ s/\A\r\n//;
    }

    return $all;
}

# 0 if there was no answer

sub status {
    my ($self) = @_;
    return $self->{head} =~ m{\AHTTP/1\.\d (\d{3})} ? $1 : 0;
}

sub head { $_[0]{head} }
sub body { $_[0]{body} // '' }
sub socket { $_[0]{socket} }

sub header {
    my ($self, $name) = @_;
    return $self->{head} =~ /^\Q$name\E:[ \t]*(.*?)[ \t]*\r$/mi ? $1 : undef;
}

# 1 if the answer is a handshake that fits the key

sub accepted {
    my ($self) = @_;
    return $self->status() == 101
        && ($self->header('sec-websocket-accept') // '') eq $self->{accept}
        && ($self->header('upgrade') // '') =~ /^websocket$/i
        && ($self->header('connection') // '') =~ /\bupgrade\b/i ? 1 : 0;
}


###############################################################################
# Sending.
###############################################################################

# Sends all bytes; returns their number, or how many went before the end or
# the time-out.

sub send_raw {
    my ($self, $bytes, $timeout) = @_;

    my $s = $self->{socket} or return 0;
    my $end = time() + ($timeout // $self->{timeout});
    my $sent = 0;

    local $SIG{PIPE} = 'IGNORE';

    while ($sent < length $bytes) {
        my $n = syswrite $s, $bytes, 65536, $sent;

        if (defined $n) {
            $sent += $n;
            next;
        }

        last unless $!{EAGAIN} || $!{EWOULDBLOCK};

        my $left = $end - time();
        last if $left <= 0;
        IO::Select->new($s)->can_write($left);
    }

    return $sent;
}

# One byte a write, so that each arrives alone.

sub send_slow {
    my ($self, $bytes, $pause) = @_;

    for (split //, $bytes) {
        $self->send_raw($_);
        sleep($pause // 0.001);
    }

    return $self;
}

# A frame with a mask of its own, unless the options say otherwise.

sub send_frame {
    my ($self, $opcode, $payload, %opt) = @_;
    $self->send_raw($self->frame($opcode, $payload, %opt));
    return $self;
}

sub frame {
    my ($self, $opcode, $payload, %opt) = @_;
    $opt{mask} = pack 'N', 1 + int rand 0xfffffffe unless exists $opt{mask};
    return build_frame($opcode, $payload, %opt);
}

sub send_text { $_[0]->send_frame(TEXT, $_[1]) }
sub send_binary { $_[0]->send_frame(BINARY, $_[1]) }
sub send_ping { $_[0]->send_frame(PING, $_[1] // '') }

sub send_close {
    my ($self, $code, $reason) = @_;
    return $self->send_frame(CLOSE,
        defined $code ? pack('n', $code) . ($reason // '') : '');
}


###############################################################################
# Receiving.
###############################################################################

# The next frame as it came; undef at the end, at a reset or a time-out: see
# ended().

sub read_frame {
    my ($self, $timeout) = @_;

    my $end = time() + ($timeout // $self->{timeout});

    while (1) {
        my $frame = parse_frame(\$self->{in});
        return $frame if $frame;
        return unless $self->_fill($end - time());
    }
}

# The payload of the next message, put together; pings are answered (unless
# auto(0) was called) and kept.  undef when there is none: see close_code().

sub read_message {
    my ($self, $timeout) = @_;

    my $end = time() + ($timeout // $self->{timeout});

    while (1) {
        my $left = $end - time();
        my $f = $self->read_frame($left > 0 ? $left : 0) or return;

        if ($f->{opcode} == PING) {
            push @{ $self->{pings} }, $f->{payload};
            $self->send_frame(PONG, $f->{payload}) if $self->{auto};

        } elsif ($f->{opcode} == PONG) {
            push @{ $self->{pongs} }, $f->{payload};

        } elsif ($f->{opcode} == CLOSE) {
            $self->_closed($f->{payload});
            return;

        } else {
            ($self->{message}, $self->{opcode}) = ('', $f->{opcode})
                if $f->{opcode} != CONT;
            $self->{message} .= $f->{payload};
            return $self->{message} if $f->{fin};
        }
    }
}

# Answers to pings by read_message() on or off.

sub auto {
    my ($self, $on) = @_;
    $self->{auto} = $on;
    return $self;
}

sub pings { @{ $_[0]{pings} } }
sub pongs { @{ $_[0]{pongs} } }

sub _closed {
    my ($self, $payload) = @_;

    $self->{closed} = 1;
    $self->{code} = length $payload < 2 ? 1005 : unpack 'n', $payload;
    $self->{reason} = length $payload > 2 ? substr $payload, 2 : '';

    # the answer that the protocol demands, once

    $self->send_close($self->{code} == 1005 ? () : $self->{code})
        unless $self->{close_sent}++ || !$self->{auto};
}

# Sends a text and returns the next message.

sub ask {
    my ($self, $text, $timeout) = @_;
    $self->send_text($text);
    return $self->read_message($timeout);
}

# Sends so many numbered messages and returns '' if each came back in order.

sub numbered {
    my ($self, $n, $size) = @_;

    for (1 .. $n) {
        my $text = 'n' . ++$self->{number};
        $text .= '.' x ($size - length $text) if $size;
        my $got = $self->ask($text);

        return "sent $text, got " . ($got // 'nothing: ' . $self->close_code())
            unless defined $got && $got eq $text;
    }

    return '';
}

# Sends a Close, reads until the other side's.  Returns its code.

sub close {
    my ($self, $code, $reason) = @_;

    $self->{close_sent} = 1;
    $self->send_close($code // 1000, $reason);

    return $self->close_code();
}

# Reads, dropping messages, until a Close (its code; 1005: it had none), the end
# without one (1006) or the time-out (0).

sub close_code {
    my ($self, $timeout) = @_;

    my $end = time() + ($timeout // $self->{timeout});

    # what has come before the end counts, too

    until ($self->{closed}) {
        my $left = $end - time();
        last if $left <= 0;
        last if !defined $self->read_message($left) && $self->{ended};
    }

    return $self->{code} if $self->{closed};
    return $self->{ended} ? 1006 : 0;
}

sub close_reason { $_[0]{reason} // '' }

# 'eof' or 'reset' once the connection is over, '' before; waits for it.

sub ended {
    my ($self, $timeout) = @_;

    my $end = time() + ($timeout // $self->{timeout});

    until ($self->{ended}) {
        my $left = $end - time();
        last if $left <= 0;
        $self->_fill($left);
    }

    return $self->{ended} // '';
}

sub shutdown_write {
    my ($self) = @_;
    shutdown $self->{socket}, 1;
    return $self;
}

# Ends the TCP connection: without a Close; with reset => 1 by a RST.

sub disconnect {
    my ($self, %opt) = @_;

    my $s = delete $self->{socket} or return;

    setsockopt $s, SOL_SOCKET, SO_LINGER, pack 'II', 1, 0 if $opt{reset};
    CORE::close($s);
    $self->{ended} //= 'eof';

    return;
}

# Reads what is there, waiting for it.  1, or 0 at the end or a time-out.

sub read_some { $_[0]->_fill($_[1]) }

sub _fill {
    my ($self, $timeout) = @_;

    my $s = $self->{socket};
    return 0 if !$s || $self->{ended} || $timeout <= 0;

    my $pending = $s->can('pending') && $s->pending();
    $pending || IO::Select->new($s)->can_read($timeout) or return 0;

    my $n = sysread $s, $self->{in}, 65536, length $self->{in};

    return 1 if $n;
    return 1 if !defined $n && ($!{EAGAIN} || $!{EWOULDBLOCK});

    $self->{ended} = defined $n ? 'eof' : 'reset';

    return 0;
}

###############################################################################

1;
