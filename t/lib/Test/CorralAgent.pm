package Test::CorralAgent;

# Runs one agent on a free port or a socket of its own and speaks to it: HTTP,
# server-sent events, and WebSocket frame by frame.  It stops only what it
# started.  Each agent is checked at its end: exit status 0 after SIGTERM, no
# Python or Node trace in what it wrote to stderr.

use warnings;
use strict;

use Exporter qw(import);
use Fcntl qw(LOCK_EX);
use File::Temp qw(tempdir);
use IO::Select;
use IO::Socket::INET;
use IO::Socket::UNIX;
use JSON::PP;
use POSIX qw(:sys_wait_h);
use Test::Corral::WebSocket;
use Test::More;
use Time::HiRes qw(sleep time);

our @EXPORT = qw(free_port json unjson node_modules);

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


# The folder where node finds ws, installed if need be; undef without node.
# Tests run beside each other: one installs, the others wait.

sub node_modules {
    return undef if `node --version 2>&1` !~ /^v\d/;

    (my $folder = __FILE__) =~ s{[^/]+$}{../../../deploy/agents/node-echo};
    open my $lock, '<', "$folder/package-lock.json" or return undef;
    flock $lock, LOCK_EX;
    my $there = -d "$folder/node_modules/ws"
        || system("cd $folder && npm ci --no-audit --no-fund >&2") == 0;
    return $there ? "$folder/node_modules" : undef;
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


# A WebSocket client, connected: see Test::CorralAgent::WebSocket.

sub ws {
    my ($self, %o) = @_;

    return Test::CorralAgent::WebSocket->new(%o,
        $self->{path} ? (socket => $self->{path}) : (port => $self->{port}));
}

###############################################################################

# The client of all tests, with what agents need besides: slice => n sends n
# bytes at a time, headers is text, and it reads while it writes, so that an
# echo cannot block both sides (unless {deaf} is set).  {status} is 101 only
# when the whole handshake is right.

package Test::CorralAgent::WebSocket;

use IO::Select;
use JSON::PP;
use Time::HiRes qw(time);

use base qw(Test::Corral::WebSocket);

sub new {
    my ($class, %o) = @_;

    my $self = $class->SUPER::new(%o, path => $o{path} // '/', timeout => 10,
        headers => [split /\r\n/, $o{headers} // '']);
    $self->{slice} = $o{slice};
    $self->{status} = $self->accepted() ? 101
        : $self->status() == 101 ? -1 : $self->status();
    return $self;
}


sub send_raw {
    my ($self, $bytes) = @_;

    local $SIG{PIPE} = 'IGNORE';
    my $s = $self->{socket} or return 0;
    my $select = IO::Select->new($s);
    my ($at, $end) = (0, time() + 60);
    while ($at < length $bytes && time() < $end) {
        $self->_fill(0.000001) unless $self->{deaf};
        next unless $select->can_write(0.05);
        my $n = syswrite $s, $bytes, $self->{slice} || 131072, $at;
        last if !defined $n && !$!{EAGAIN};
        $at += $n // 0;
    }
    return $at;
}


# Frames with fin first; mask => 0 for none.

sub build {
    my ($self, $fin, $opcode, $data, %o) = @_;

    $o{mask} = undef if exists $o{mask} && !$o{mask};
    return $self->frame($opcode, $data, %o, fin => $fin);
}


sub send { my $self = shift; return $self->send_raw($self->build(@_)) }
sub text { return $_[0]->send_text($_[1]) }
sub say_json { return $_[0]->text(JSON::PP->new->canonical->encode($_[1])) }


# The next frame: {fin, rsv, opcode, data}; undef at the end or the timeout.

sub recv {
    my ($self, $timeout) = @_;

    my $f = $self->read_frame($timeout) or return undef;
    die "a server must not mask" if defined $f->{mask};
    return { fin => $f->{fin}, rsv => $f->{rsv}, opcode => $f->{opcode},
             data => $f->{payload} };
}


sub message { my ($self, $t) = @_; return scalar $self->read_message($t) }


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


# Frames that came before the end count, though the end has been seen.

sub close_code {
    my ($self, $timeout) = @_;

    while (length $self->{in} && !$self->{closed}) {
        defined $self->read_message($timeout) or last;
    }
    return $self->SUPER::close_code($timeout);
}


sub at_end { my ($self, $timeout) = @_; return $self->ended($timeout) ne '' }
sub shut { my ($self) = @_; return $self->disconnect() }


1;
