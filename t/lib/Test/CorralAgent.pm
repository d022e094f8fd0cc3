package Test::CorralAgent;

# Runs one agent on a free port or a socket of its own and speaks to it: HTTP,
# server-sent events, and WebSocket frame by frame.  It stops only what it
# started.  Each agent is checked at its end: exit status 0 after SIGTERM, no
# Python or Node trace in what it wrote to stderr.

use warnings;
use strict;

use Digest::SHA qw(sha1_base64);
use Exporter qw(import);
use File::Temp qw(tempdir);
use IO::Select;
use IO::Socket::INET;
use IO::Socket::UNIX;
use JSON::PP;
use POSIX qw(:sys_wait_h);
use Test::More;
use Time::HiRes qw(sleep time);

our @EXPORT = qw(free_port json unjson ws_connect);

my $dir = tempdir('corral-agent-XXXXXX', TMPDIR => 1, CLEANUP => 1);
my $count = 0;
my @running;

my $json = JSON::PP->new->allow_nonref->canonical;

sub json   { return $json->encode($_[0]) }
sub unjson { return $json->decode($_[0]) }


# Start an agent: command => [...], listen => 'unix' or 'tcp', env => {},
# ready => 0 to return at once.  {listen} in the command is replaced.

sub new {
    my ($class, %o) = @_;

    my $self = bless { %o, stderr => "$dir/$$-" . ++$count . '.err',
                       stdout => "$dir/$$-$count.out" }, $class;

    if (($o{listen} // 'tcp') eq 'unix') {
        $self->{path} = "$dir/$$-$count.sock";
        $self->{address} = "unix:$self->{path}";
    } else {
        $self->{port} = free_port();
        $self->{address} = "127.0.0.1:$self->{port}";
    }

    $self->spawn();
    return $self if exists $o{ready} && !$o{ready};

    $self->wait_ready() or BAIL_OUT("agent did not come up: @{$o{command}}\n"
        . $self->read_file('stderr'));
    return $self;
}


sub spawn {
    my ($self) = @_;

    my @command = map { s/\{listen\}/$self->{address}/gr } @{$self->{command}};
    my $pid = fork() // die "fork: $!";

    if ($pid == 0) {
        delete @ENV{qw(CORRAL_LISTEN CORRAL_SERVICE CORRAL_INSTANCE PORT)};
        $ENV{CORRAL_LISTEN} = $self->{address};
        $ENV{CORRAL_SERVICE} = 'demo';
        $ENV{CORRAL_INSTANCE} = 'demo.1';
        if ($self->{port}) {
            $ENV{HOST} = '127.0.0.1';
            $ENV{PORT} = $self->{port};
        }
        my %env = %{$self->{env} || {}};
        @ENV{keys %env} = values %env;
        open STDIN, '<', '/dev/null';
        open STDOUT, '>>', $self->{stdout};
        open STDERR, '>>', $self->{stderr};
        exec { $command[0] } @command or POSIX::_exit(127);
    }

    $self->{pid} = $pid;
    push @running, $self;
}


sub wait_ready {
    my ($self) = @_;

    my $end = time() + 20;
    while (time() < $end) {
        return 0 if waitpid($self->{pid}, WNOHANG) == $self->{pid};
        my $s = $self->connect() or sleep(0.02), next;
        close $s;
        return 1;
    }
    return 0;
}


sub connect {
    my ($self) = @_;

    return $self->{path}
        ? IO::Socket::UNIX->new(Peer => $self->{path})
        : IO::Socket::INET->new(PeerAddr => '127.0.0.1',
            PeerPort => $self->{port}, Proto => 'tcp');
}


sub signal { my ($self, $name) = @_; return kill $name, $self->{pid} }


# Wait for the end; the status as the shell shows it, or undef.

sub wait_exit {
    my ($self, $seconds) = @_;

    my $end = time() + ($seconds // 15);
    while (time() < $end) {
        if (waitpid($self->{pid}, WNOHANG) == $self->{pid}) {
            my $status = $?;
            @running = grep { $_ != $self } @running;
            delete $self->{pid};
            return $status & 127 ? 128 + ($status & 127) : $status >> 8;
        }
        sleep(0.02);
    }
    return undef;
}


# End it as Corral does and check that it left well.

sub stop_ok {
    my ($self, $name) = @_;

    $name //= 'agent';
    $self->signal('TERM');
    is($self->wait_exit(), 0, "$name: exit status 0 after SIGTERM");
    unlike($self->read_file('stderr'),
        qr/Traceback|ERROR: \w+Sanitizer|runtime error|Error:|was never/,
        "$name: nothing alarming on stderr");
    ok(!-e $self->{path}, "$name: socket removed") if $self->{path};
}


sub read_file {
    my ($self, $which) = @_;

    open my $fh, '<', $self->{$which} or return '';
    local $/;
    return <$fh> // '';
}


END {
    my $status = $?;
    for my $self (@running) {
        next unless $self->{pid};
        kill 'KILL', $self->{pid};
        waitpid($self->{pid}, 0);
    }
    $? = $status;
}


sub free_port {
    my $s = IO::Socket::INET->new(Listen => 1, LocalAddr => '127.0.0.1')
        or die "no free port: $!";
    return $s->sockport();
}


# One HTTP exchange on a connection of its own: (status, body, head).

sub http {
    my ($self, $method, $target, %o) = @_;

    my $body = $o{body} // '';
    my $h = $o{headers} // '';
    $h .= 'Content-Length: ' . length($body) . "\r\n" if length $body;
    return $self->raw("$method $target HTTP/1.1\r\nHost: a\r\n"
        . "Connection: close\r\n$h\r\n$body");
}


# Send bytes, read to the end: (status, body, head); chunks are joined.

sub raw {
    my ($self, $bytes, $timeout) = @_;

    my $s = $self->connect() or return (0, "connect: $!", '');
    local $SIG{PIPE} = 'IGNORE';
    syswrite $s, $bytes;
    my $got = '';
    my $end = time() + ($timeout // 15);
    my $select = IO::Select->new($s);
    while (time() < $end && $select->can_read($end - time())) {
        sysread($s, $got, 65536, length $got) or last;
    }
    return split_answer($got);
}


sub split_answer {
    my ($got) = @_;

    my ($head, $body) = split /\r\n\r\n/, $got, 2;
    $head //= '';
    $body //= '';
    if ($head =~ /^Transfer-Encoding: chunked/mi) {
        my $all = '';
        while ($body =~ s/^([0-9a-f]+)[^\r\n]*\r\n//i) {
            my $size = hex $1 or last;
            $all .= substr $body, 0, $size, '';
            $body =~ s/^\r\n//;
        }
        $body = $all;
    }
    return ($head =~ m{^HTTP/1\.[01] (\d+)} ? $1 : 0, $body, $head);
}


# The events of an SSE body: [{event, id, data}].

sub sse {
    my ($body) = @_;

    my @events;
    for my $block (split /\n\n/, $body) {
        my (%e, @data);
        for my $line (split /\n/, $block) {
            next if $line =~ /^:/;
            my ($k, $v) = $line =~ /^(\w+): ?(.*)$/ or next;
            $k eq 'data' ? push(@data, $v) : ($e{$k} = $v);
        }
        push @events, { %e, data => join("\n", @data) } if @data;
    }
    return @events;
}


sub ws {
    my ($self, %o) = @_;

    my $s = $self->connect() or return undef;
    return ws_connect($s, %o);
}

###############################################################################

# A WebSocket client that hides nothing.  Options: path, headers, slice => n
# to send n bytes at a time.  The head of the answer is in {head}; {status} is
# 101 only when Sec-WebSocket-Accept is right.

sub ws_connect {
    my ($s, %o) = @_;

    my $self = bless { s => $s, in => '', slice => $o{slice} },
        'Test::CorralAgent::WebSocket';
    my $key = 'x3JJHMbDL1EzLkh9GBhXDw==';
    my $path = $o{path} // '/';

    $self->write("GET $path HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n"
        . "Connection: Upgrade\r\nSec-WebSocket-Key: $key\r\n"
        . "Sec-WebSocket-Version: 13\r\n" . ($o{headers} // '') . "\r\n"
        . ($o{early} // ''));

    while ($self->{in} !~ /\r\n\r\n/) { $self->fill(10) or last; }
    $self->{in} =~ s/^(.*?\r\n\r\n)//s;
    $self->{head} = $1 // '';
    my $want = sha1_base64($key . '258EAFA5-E914-47DA-95CA-C5AB0DC85B11') . '=';
    my ($status) = $self->{head} =~ m{^HTTP/1\.1 (\d+)};
    my ($got) = $self->{head} =~ /^Sec-WebSocket-Accept: (\S+)/mi;
    $self->{status} = ($status // 0) == 101
        ? (($got // '') eq $want ? 101 : -1) : ($status // 0);
    return $self;
}


package Test::CorralAgent::WebSocket;

use Time::HiRes qw(time sleep);
use IO::Select;
use JSON::PP;

sub fill {
    my ($self, $timeout) = @_;

    return 0 unless IO::Select->new($self->{s})->can_read($timeout);
    my $n = sysread $self->{s}, $self->{in}, 262144, length $self->{in};
    $self->{eof} = 1 unless $n;
    return $n;
}


# Write all; reads meanwhile, so that an echo cannot block both sides.

sub write {
    my ($self, $bytes) = @_;

    local $SIG{PIPE} = 'IGNORE';
    my $step = $self->{slice} || 131072;
    my ($r, $w) = (IO::Select->new($self->{s}), IO::Select->new($self->{s}));
    $self->{s}->blocking(0);
    my ($at, $end) = (0, time() + 60);
    while ($at < length $bytes && time() < $end) {
        $self->fill(0) if !$self->{eof} && !$self->{deaf} && $r->can_read(0);
        next unless $w->can_write(0.05);
        my $n = syswrite $self->{s}, $bytes, $step, $at;
        last if !defined $n && !$!{EAGAIN};
        $at += $n // 0;
    }
    $self->{s}->blocking(1);
    return $at == length $bytes;
}


# Build one frame: fin, opcode, payload, options mask => 0, rsv => n,
# form => 16 or 64 for a length field longer than needed.

sub frame {
    my ($self, $fin, $opcode, $data, %o) = @_;

    my $mask = ($o{mask} // 1) ? 0x80 : 0;
    my $head = pack 'C', ($fin ? 0x80 : 0) | ($o{rsv} // 0) << 4 | $opcode;
    my $n = length $data;
    my $form = $o{form} // ($n < 126 ? 7 : $n < 65536 ? 16 : 64);
    $head .= $form == 7 ? pack('C', $mask | $n)
        : $form == 16 ? pack('Cn', $mask | 126, $n)
        : pack('CQ>', $mask | 127, $n);
    if ($mask) {
        my $key = pack 'N', int(rand(2 ** 32));
        $head .= $key;
        $data ^= substr($key x (int($n / 4) + 1), 0, $n) if $n;
    }
    return $head . $data;
}


sub send { my $self = shift; return $self->write($self->frame(@_)) }
sub text { return $_[0]->send(1, 1, $_[1]) }
sub say_json { return $_[0]->text(JSON::PP->new->canonical->encode($_[1])) }


# The next frame: {fin, rsv, opcode, data}; undef at the end or the timeout.

sub recv {
    my ($self, $timeout) = @_;

    my $end = time() + ($timeout // 10);
    while (1) {
        my $frame = $self->parse();
        return $frame if $frame;
        return undef if $self->{eof} || time() >= $end;
        $self->fill($end - time());
    }
}


sub parse {
    my ($self) = @_;

    my $have = length $self->{in};
    return undef if $have < 2;
    my ($b0, $b1) = unpack 'CC', $self->{in};
    my ($n, $at) = ($b1 & 127, 2);
    if ($n == 126) {
        return undef if $have < 4;
        ($n, $at) = (unpack('x2n', $self->{in}), 4);
    } elsif ($n == 127) {
        return undef if $have < 10;
        ($n, $at) = (unpack('x2Q>', $self->{in}), 10);
    }
    die "a server must not mask" if $b1 & 0x80;
    return undef if $have < $at + $n;
    my $data = substr $self->{in}, $at, $n;
    substr $self->{in}, 0, $at + $n, '';
    return { fin => $b0 >> 7, rsv => $b0 >> 4 & 7, opcode => $b0 & 15,
             data => $data };
}


# The next data message, joined; pings are answered, pongs dropped.

sub message {
    my ($self, $timeout) = @_;

    my $all = '';
    while (my $f = $self->recv($timeout)) {
        if ($f->{opcode} == 9) { $self->send(1, 10, $f->{data}); next; }
        next if $f->{opcode} == 10;
        if ($f->{opcode} == 8) { $self->{closed} = $f->{data}; return undef; }
        $all .= $f->{data};
        return $all if $f->{fin};
    }
    return undef;
}


sub json_message {
    my ($self, $timeout) = @_;

    my $text = $self->message($timeout);
    return defined $text ? JSON::PP->new->decode($text) : undef;
}


# JSON messages up to the first whose "event" matches.

sub events_until {
    my ($self, $re, $timeout) = @_;

    my @all;
    while (my $e = $self->json_message($timeout)) {
        push @all, $e;
        last if ($e->{event} // '') =~ $re;
    }
    return @all;
}


# Wait for a Close: its code, 1005 without one, 1006 when none came.

sub close_code {
    my ($self, $timeout) = @_;

    my $data = $self->{closed};
    while (!defined $data) {
        my $f = $self->recv($timeout) or return 1006;
        $data = $f->{data} if $f->{opcode} == 8;
    }
    return length $data ? unpack('n', $data) : 1005;
}


sub at_end { my ($self, $t) = @_; $self->fill($t // 5) until $self->{eof};
             return 1 }

sub shut { my ($self) = @_; close $self->{s} }


1;
