package Test::Corral::Daemon;

# A corrald with its own Redis and directories, for tests of supervision: it
# can be killed and started again while its agents live.  finish() checks that
# in the end nothing of it is left, and ends what is.

use warnings;
use strict;

use Cwd qw/abs_path/;
use Exporter qw/import/;
use File::Basename qw/dirname/;
use File::Path qw/remove_tree/;
use File::Temp qw/tempdir/;
use HTTP::Tiny;
use IO::Socket::INET;
use JSON::PP;
use POSIX qw/:sys_wait_h/;
use Test::More qw//;
use Time::HiRes qw/sleep time/;

use Test::Corral::Shim qw/wait_for alive slurp descendants/;

our @EXPORT = qw/wait_for alive slurp descendants/;

my $root = abs_path($ENV{CORRAL_ROOT} // dirname(__FILE__) . '/../../../..');
my $build = $ENV{CORRAL_BUILD} // "$root/build/" . ($ENV{KIND} // 'release');

# An agent: HTTP on CORRAL_LISTEN.  What it does is in its path or command line.

our $AGENT = <<'EOP';
use strict;
use IO::Socket::INET;
use IO::Socket::UNIX;
use POSIX ();

$| = 1;
$SIG{PIPE} = 'IGNORE';
my %opt = map { /^(\w+)=(.*)/s ? ($1 => $2) : () } @ARGV;
my $sick = 0;

exit $opt{exit} if defined $opt{exit};

if ($opt{child} && !fork) {
    POSIX::setsid();
    sleep 1 while 1;
}

$SIG{TERM} = $opt{deaf} ? 'IGNORE' : sub {
    print "got TERM\n";
    select undef, undef, undef, $opt{linger} if $opt{linger};
    exit 0;
};

select undef, undef, undef, $opt{slow} if $opt{slow};
sleep 1 while $opt{mute};

my $listen = $ENV{CORRAL_LISTEN};
my $s = $listen =~ /^unix:(.*)/
    ? IO::Socket::UNIX->new(Local => $1, Listen => 64)
    : IO::Socket::INET->new(LocalAddr => $listen, Listen => 64,
        ReuseAddr => 1);
if (!$s) { print STDERR "ERROR: cannot listen on $listen: $!\n"; exit 2 }

print "listening on $listen\n";
sleep 1 while $opt{hang};

while (1) {
    my $c = $s->accept or next;
    my $r = '';
    sysread $c, $r, 4096;
    my ($path) = $r =~ /^GET (\S+)/;
    $path //= '';
    POSIX::_exit($1) if $path =~ m{^/exit/(\d+)};
    $sick = 1 if $path eq '/sick';
    $sick = 0 if $path eq '/well';
    print "$1\n" if $path =~ m{^/say/(.*)};
    my $body = $path eq '/env' ? join("\n", map { "$_=$ENV{$_}" } sort keys %ENV)
        : "pid $$ uid $> args @ARGV";
    my $status = $sick && $path eq '/health' ? '503 Sick' : '200 OK';
    print $c "HTTP/1.1 $status\r\nContent-Length: " . length($body)
        . "\r\nConnection: close\r\n\r\n$body";
    close $c;
}
EOP


sub new {
    my ($class, %conf) = @_;

    for my $program ('corrald', 'corral-shim') {
        Test::More::plan(skip_all => "$program is missing")
            unless -x "$build/$program";
    }

    Test::More::plan(skip_all => 'redis-server is missing')
        unless grep { -x "$_/redis-server" } split /:/, $ENV{PATH};

    my $dir = tempdir('corrald-XXXXXXXX', TMPDIR => 1);
    chmod 0755, $dir;

    my $port = _free_port();

    my $self = bless {
        owner => $$, dir => $dir, port => $port, known => {},
        conf => {
            cluster => 'test', node => 'n1', listen => "127.0.0.1:$port",
            state_dir => "$dir/s", run_dir => "$dir/r", log_dir => "$dir/l",
            shim => "$build/corral-shim", agent_user => 'nobody', %conf,
        },
    }, $class;

    open my $fh, '>', "$dir/agent.pl" or die "agent.pl: $!\n";
    print $fh $AGENT;
    close $fh;

    return $self;
}

sub _free_port {
    my $s = IO::Socket::INET->new(LocalAddr => '127.0.0.1', Listen => 1);
    return $s->sockport();
}

sub free_port { _free_port() }
sub dir { $_[0]{dir} }
sub agent { my ($self, @args) = @_; ['perl', "$self->{dir}/agent.pl", @args] }

sub start {
    my ($self, %more) = @_;

    my %conf = (%{ $self->{conf} }, %more);

    open my $fh, '>', "$self->{dir}/corrald.yaml" or die "corrald.yaml: $!\n";

    for (sort keys %conf) {
        print $fh ref $conf{$_} ? "$_: [" . join(', ', @{ $conf{$_} }) . "]\n"
            : "$_: \"$conf{$_}\"\n";
    }

    close $fh;

    my $pid = fork() // die "fork: $!\n";

    if ($pid == 0) {
        open STDIN, '<', '/dev/null';
        open STDOUT, '>>', "$self->{dir}/corrald.out";
        open STDERR, '>>', "$self->{dir}/corrald.log";
        $ENV{CORRAL_TEST_SECRET} = 'from the environment';
        exec "$build/corrald", '-c', "$self->{dir}/corrald.yaml"
            or POSIX::_exit(99);
    }

    $self->{pid} = $pid;

    my $ready = wait_for(sub {
        return 'dead' if waitpid($pid, WNOHANG) == $pid;
        my $r = HTTP::Tiny->new(timeout => 2)->get(
            "http://127.0.0.1:$self->{port}/readyz");
        $r->{status} == 200;
    }, 20) // '';

    die "corrald did not start:\n" . $self->log() if $ready ne '1';

    $self->{token} = slurp("$self->{dir}/s/token");
    chomp $self->{token};

    return $self;
}

sub log { slurp("$_[0]{dir}/corrald.log") }

# Ends corrald alone: its agents and its Redis live on.

sub kill {
    my ($self, $signal) = @_;
    CORE::kill $signal // 'KILL', $self->{pid};
    waitpid $self->{pid}, 0;
    $self->{status} = $?;
    delete $self->{pid};
    return $self;
}


# The API.

sub api {
    my ($self, $method, $path, $body) = @_;

    my $r = HTTP::Tiny->new(timeout => 10)->request($method,
        "http://127.0.0.1:$self->{port}/api/v1$path", {
            headers => { Authorization => "Bearer $self->{token}",
                'Content-Type' => $method eq 'PATCH'
                    ? 'application/merge-patch+json' : 'application/json' },
            defined $body ? (content => encode_json($body)) : (),
        });

    $self->{http} = $r->{status};

    return eval { decode_json($r->{content}) } // $r->{content};
}

# One command to corrald's Redis, as corrald; in list context the lines of the
# answer.

sub redis_cli {
    my ($self, @args) = @_;

    local $ENV{REDISCLI_AUTH} = slurp("$self->{dir}/s/redis.corrald.password");

    open my $fh, '-|', 'redis-cli', '-s', "$self->{dir}/r/redis.sock",
        '--user', 'corrald', '--no-auth-warning', @args
        or die "Can't run redis-cli: $!\n";
    my @lines = map { s/\r?\n\z//r } <$fh>;

    return wantarray ? @lines : join "\n", @lines;
}

# Runs the command line against this daemon: exit code, standard output and
# standard error.  Nothing is read from standard input.

sub ctl {
    my ($self, @args) = @_;

    my ($out, $err) = map { "$self->{dir}/ctl.$_" } qw/out err/;
    my $pid = fork() // die "fork(): $!";

    if ($pid == 0) {
        $self->_ctl_environment();
        open STDIN, '<', '/dev/null' or exit 99;
        open STDOUT, '>', $out or exit 99;
        open STDERR, '>', $err or exit 99;
        exec {"$Test::Corral::BUILD/corral"} 'corral', @args or exit 99;
    }

    waitpid($pid, 0);

    return ($? >> 8, slurp($out), slurp($err));
}

# The same as a shell would do it: a pipeline in which "corral" is a program.

sub ctl_shell {
    my ($self, $line) = @_;

    local %ENV = %ENV;
    $self->_ctl_environment();
    $ENV{PATH} = "$Test::Corral::BUILD:$ENV{PATH}";

    return scalar `$line`;
}

sub _ctl_environment {
    my ($self) = @_;

    $ENV{CORRAL_API} = "http://127.0.0.1:$self->{port}";
    $ENV{CORRAL_TOKEN} = $self->{token};
}

sub service {
    my ($self, %doc) = @_;

    my $r = $self->api('POST', '/services', {
        readiness_probe => { type => 'http', path => '/health',
            interval => '200ms', timeout => '2s', failure_threshold => 2 },
        restart_delay => '100ms', stop_timeout => '3s', desired => 'running',
        %doc,
    });

    Test::More::diag(encode_json($r)) if $self->{http} >= 300;

    return $r;
}

sub instances {
    my ($self, $service) = @_;
    my $r = $self->api('GET', "/services/$service/instances");
    my @i = @{ ref $r ? $r->{items} // [] : [] };
    $self->{known}{ $_->{pid} } = 1 for grep { $_->{pid} } @i;
    @i = sort { $a->{created_at} cmp $b->{created_at} } @i;
    return @i;
}

sub instance { (grep { $_->{instance_id} eq $_[1] }
    @{ $_[0]->api('GET', '/instances')->{items} // [] })[0] }

# Waits until the sub is true of the instances; returns them.

sub wait_instances {
    my ($self, $service, $sub, $timeout) = @_;

    my @i;
    my $ok = wait_for(sub {
        @i = $self->instances($service);
        @i && $sub->(@i);
    }, $timeout // 10);

    if (!$ok) {
        Test::More::diag("$service: ", map { join ' ', "\n ",
            map { $_ // '-' } @$_{qw/instance_id state health reason message
            pid incarnation generation/} } @i);
    }

    return $ok ? @i : ();
}

sub wait_running {
    my ($self, $service, $n) = @_;
    return $self->wait_instances($service, sub {
        @_ == $n && $n == grep { $_->{state} eq 'running'
            && $_->{health} eq 'healthy' } @_
    });
}

sub history {
    my ($self, $id) = @_;
    my $r = $self->api('GET', "/instances/$id/history");
    return reverse @{ ref $r ? $r->{items} // [] : [] };
}

# The pids of shim and guard of an instance.

sub shim {
    my ($self, $id) = @_;

    my %pid = map { slurp($_ =~ s/cmdline/comm/r) =~ /^corral-(\w+)/,
            m{/proc/(\d+)/} }
        grep { slurp($_) =~ m{/corral-shim\0\Q$id\E\0} }
        glob '/proc/[0-9]*/cmdline';

    return @pid{qw/shim guard/};
}

# Asks the agent of an instance.

sub ask {
    my ($self, $instance, $path) = @_;

    my $address = ref $instance ? $instance->{address} : $instance;
    my $s = $address =~ /^unix:(.*)/
        ? IO::Socket::UNIX->new(Peer => $1)
        : IO::Socket::INET->new(PeerAddr => $address);
    return '' unless $s;

    local $SIG{PIPE} = 'IGNORE';
    print $s "GET $path HTTP/1.1\r\nHost: x\r\n\r\n";
    local $/;
    return (split /\r\n\r\n/, scalar(<$s>) // '', 2)[1] // '';
}


# The end.

sub finish {
    my ($self) = @_;

    my $clean = 1;

    if ($self->{pid}) {
        for (@{ $self->api('GET', '/services?limit=500')->{items} // [] }) {
            $self->api('DELETE', "/services/$_->{name}?force=1");
        }

        $clean = wait_for(sub { !$self->left() }, 15) // 0;
        $self->kill('TERM');
        Test::More::is($self->{status}, 0, 'corrald ends with 0');

    } else {
        Test::More::fail('corrald lives');
    }

    my @left = $self->left();
    Test::More::ok($clean && !@left, 'no agent and no shim is left')
        or Test::More::diag(map { "$_: " . slurp("/proc/$_/cmdline") . "\n" }
            @left);

    my @bad = grep { /AddressSanitizer|runtime error:/ } split /\n/,
        $self->log() . slurp("$self->{dir}/corrald.out");
    Test::More::is("@bad", '', 'no sanitizer report');

    CORE::kill 'KILL', @left;
    $self->_stop_redis();
}

# Agents and shims of ours that live: by the directory in command line,
# environment or a lock that is held open.

sub left {
    my ($self) = @_;

    my @pids;

    for my $proc (glob '/proc/[0-9]*') {
        my ($pid) = $proc =~ /(\d+)$/;

        next if $pid == $$ || $pid == ($self->{pid} // 0);

        my $command = slurp("$proc/cmdline");

        next if $command eq '' || $command =~ /redis/;

        push @pids, $pid if index($command, $self->{dir}) >= 0
            || index(slurp("$proc/environ"), $self->{dir}) >= 0
            || $command =~ /corral-shim/
            && grep { (readlink($_) // '') =~ m{^\Q$self->{dir}\E/.*lock} }
                glob "$proc/fd/*";
    }

    return grep { alive($_) } @pids;
}

sub _redis_pid {
    my ($self) = @_;

    return $self->{redis_pid} if $self->{redis_pid};

    ($self->{redis_pid}) = map { m{/proc/(\d+)/} }
        grep { my $c = slurp($_); $c =~ /redis/ && index($c, $self->{dir}) >= 0 }
        glob '/proc/[0-9]*/cmdline';

    return $self->{redis_pid};
}

sub _stop_redis {
    my ($self) = @_;
    my $pid = $self->_redis_pid() or return;
    return unless alive($pid);
    CORE::kill 'TERM', $pid;
    wait_for(sub { !alive($pid) }, 5) or CORE::kill 'KILL', $pid;
}

sub DESTROY {
    my ($self) = @_;

    return if $$ != $self->{owner};

    local ($?, $@);
    $self->kill('KILL') if $self->{pid};
    CORE::kill 'KILL', $self->left();
    $self->_stop_redis();

    if ($ENV{TEST_CORRAL_LEAVE}) {
        Test::More::diag("left $self->{dir}");
    } else {
        remove_tree($self->{dir});
    }
}


1;
