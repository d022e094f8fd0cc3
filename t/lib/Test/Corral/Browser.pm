package Test::Corral::Browser;

# A headless Chromium, led over its debugging pipe: it opens pages and tells
# what stands in them.  Descriptor 3 takes commands, 4 gives answers and events,
# each a JSON text ended by a NUL.

use warnings;
use strict;

use Fcntl qw/F_DUPFD/;
use File::Temp qw/tempdir/;
use IO::Select;
use JSON::PP;
use POSIX qw/:sys_wait_h/;
use Time::HiRes qw/time/;

use Test::Corral;

my $TIMEOUT = 30;               # seconds for an answer; a cold start takes some

my @FLAGS = qw/--headless --no-sandbox --disable-gpu --disable-quic
    --no-first-run --disable-background-networking --disable-component-update
    --disable-sync --disable-dev-shm-usage --no-proxy-server
    --remote-debugging-pipe/;

sub new {
    my ($class) = @_;

    pipe my $in, my $to or die "Can't make a pipe: $!\n";
    pipe my $from, my $out or die "Can't make a pipe: $!\n";

    my $profile = tempdir('corral-chromium-XXXXXXXX', TMPDIR => 1,
        CLEANUP => 1);
    my $pid = fork() // die "Can't fork: $!\n";

    if ($pid == 0) {
        _run($in, $out, $profile);
    }

    $to->autoflush(1);

    my $self = bless { pid => $pid, to => $to, from => $from, id => 0,
        got => '', owner => $$ }, $class;

    $self->{target} = $self->ask('Target.createTarget',
        { url => 'about:blank' })->{targetId};
    $self->{session} = $self->ask('Target.attachToTarget',
        { targetId => $self->{target}, flatten => JSON::PP::true })
        ->{sessionId};

    return $self;
}

# In the child: it has a group of its own, so that all of it can be ended.

sub _run {
    my ($in, $out, $profile) = @_;

    POSIX::setpgid(0, 0);
    $ENV{HOME} = $profile;
    open STDIN, '<', '/dev/null';
    open STDOUT, '>', "$profile/out";
    open STDERR, '>&', \*STDOUT;

    # neither pipe may lie where the other is to go

    my ($r, $w) = map { fcntl $_, F_DUPFD, 10 } $in, $out;
    POSIX::dup2($r, 3);
    POSIX::dup2($w, 4);
    POSIX::close($_) for 5 .. 63;

    exec 'chromium', @FLAGS, "--user-data-dir=$profile" or POSIX::_exit(127);
}

# One command; returns its result.

sub ask {
    my ($self, $method, $params) = @_;

    local $SIG{PIPE} = 'IGNORE';

    my $id = ++$self->{id};
    my $to = $self->{to};

    print $to encode_json({ id => $id, method => $method,
        params => $params // {}, $self->{session}
            ? (sessionId => $self->{session}) : () }), "\0";

    my $end = time() + $TIMEOUT;
    my $select = IO::Select->new($self->{from});

    while (1) {
        while ($self->{got} =~ s/^([^\0]*)\0//) {
            my $answer = decode_json($1);
            next unless ($answer->{id} // 0) == $id;
            die "chromium: $method: $answer->{error}{message}\n"
                if $answer->{error};
            return $answer->{result};
        }

        $select->can_read($end - time())
            && sysread $self->{from}, $self->{got}, 65536, length $self->{got}
            or die "chromium: no answer to $method\n";
    }
}

# Opens a page and waits until the expression is true in it; returns its value.

sub open_page {
    my ($self, $url, $expression, $timeout) = @_;

    my $error = $self->ask('Page.navigate', { url => $url })->{errorText};
    die "chromium: $url: $error\n" if $error;

    return wait_for(sub {
        $self->ask('Runtime.evaluate', { expression => $expression,
            returnByValue => JSON::PP::true })->{result}{value};
    }, $timeout // 20);
}

sub close {
    my ($self) = @_;

    my $pid = delete $self->{pid} or return;

    # with its pipe a browser ends; what is left of it after that is ended

    CORE::close $self->{to};
    wait_for(sub { waitpid($pid, WNOHANG) != 0 }, 5);
    kill 'KILL', -$pid;
    waitpid $pid, 0;
}

sub DESTROY {
    my ($self) = @_;

    return if $$ != $self->{owner};

    local ($?, $@);
    $self->close();
}


1;
