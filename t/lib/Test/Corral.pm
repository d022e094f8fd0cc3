package Test::Corral;

# The harness of Corral's tests, in the dialect of nginx-tests: it starts and
# stops what a test needs, in a directory and on ports of its own, and adds to
# each plan the checks that every test owes (see _finish).
#
# It does not speak WebSocket and plays no agent: see Test::Corral::WebSocket
# and Test::Corral::Agent.  t/README.md shows the dialect on one page.
#
# It ends only processes that it started: its own children, by their pid, and
# what these left behind, found by a working directory inside the test's own.

use warnings;
use strict;

use Cwd qw/abs_path/;
use Exporter qw/import/;
use Fcntl qw/:mode/;
use File::Basename qw/dirname/;
use File::Path qw/remove_tree/;
use File::Temp qw/tempdir/;
use IO::Select;
use IO::Socket::INET;
use IO::Socket::UNIX;
use JSON::PP;
use POSIX qw/:sys_wait_h/;
use Scalar::Util qw/weaken/;
use Test::More qw//;
use Time::HiRes qw/sleep time/;

our @EXPORT = qw/port udp_socket http http_read http_get http_post http_body
    wait_for/;

###############################################################################

our $ROOT = abs_path($ENV{CORRAL_ROOT} // dirname(__FILE__) . '/../../..');
our $KIND = $ENV{CORRAL_KIND} // $ENV{KIND} // 'release';
our $BUILD = abs_path($ENV{CORRAL_BUILD} // "$ROOT/build/$KIND")
    // "$ROOT/build/$KIND";

our $MODULE = "$BUILD/ngx_http_corral_module.so";

my $owner = $$;

$SIG{$_} = sub { exit 1 } for qw/INT TERM HUP/;     # END stops everything

my @tests;
my %ports;          # virtual port => [ real port, socket that holds it ]


###############################################################################
# What a test begins with.
###############################################################################

sub new {
    my ($class) = @_;

    my $dir = tempdir('corral-XXXXXXXX', TMPDIR => 1);
    chmod 0755, $dir;

    my $self = bless {
        dir => $dir,
        daemons => [],      # [ pid, name ]
        clients => [],      # sockets to close before the counts are checked
        expected => [],     # [ re, seen ] of alerts
        files => {},
    }, $class;

    push @tests, $self;

    return $self;
}

# Skips the test unless everything named is there: a part of Corral (corral,
# corrald), a directive of the module (corral_websocket), a program in the
# path (redis-server, nghttpd, node), or a Perl module (IO::Socket::SSL).
# With TEST_CORRAL_STRICT=1 what is missing is a failure.

sub has {
    my ($self, @features) = @_;

    for my $feature (@features) {
        next if _has($feature);

        if ($ENV{TEST_CORRAL_STRICT}) {
            Test::More::BAIL_OUT("$feature is missing") if $feature eq 'nginx';
            Test::More::plan(tests => 1);
            Test::More::ok(0, "$feature is there");
            exit 1;
        }

        remove_tree($self->{dir});
        Test::More::plan(skip_all => "$feature is missing");
    }

    return $self;
}

sub _has {
    my ($feature) = @_;

    return -x nginx() if $feature eq 'nginx';
    return -f $MODULE if $feature eq 'corral';
    return -x "$BUILD/$feature" if $feature =~ /^corral(d|-shim)$/;
    return -f $MODULE && index(_slurp($MODULE), "$feature\0") >= 0
        if $feature =~ /^corral_/;
    return eval "require $feature; 1" if $feature =~ /::/;

    return scalar grep { -x "$_/$feature" } split /:/, $ENV{PATH};
}

sub nginx {
    return "$BUILD/nginx" if -x "$BUILD/nginx";
    return '/usr/sbin/nginx';
}

# The number of the test's own assertions; the automatic ones are added.

sub plan {
    my ($self, $n) = @_;

    $self->{planned} = 1;
    $self->{status_uri} = $self->_status_location()
        unless exists $self->{status_uri};

    Test::More::plan(tests => $n + 5 + ($self->{status_uri} ? 1 : 0));

    return $self;
}

# An alert that the test provokes on purpose.  It must come.

sub expect_alert {
    my ($self, $re) = @_;
    push @{ $self->{expected} }, [ $re, 0 ];
    return $self;
}

sub testdir { $_[0]{dir} }


###############################################################################
# Files.
###############################################################################

sub write_file {
    my ($self, $name, $content) = @_;

    my $file = "$self->{dir}/$name";

    # in one step: whoever watches the file never reads half of it

    open my $fh, '>:raw', "$file.new" or die "Can't create $file.new: $!\n";
    print $fh $content;
    close $fh or die "Can't write $file.new: $!\n";
    rename "$file.new", $file or die "Can't rename to $file: $!\n";

    $self->{files}{$name} = $content;

    return $self;
}

# Replaces %%TESTDIR%%, %%TEST_GLOBALS%%, %%TEST_GLOBALS_HTTP%%, %%PORT_8080%%
# and 127.0.0.1:8080, for any port from 8000 to 8999.

sub write_file_expand {
    my ($self, $name, $content) = @_;
    return $self->write_file($name, $self->expand($content));
}

sub expand {
    my ($self, $content) = @_;

    $content =~ s/%%TEST_GLOBALS%%/$self->_globals()/gme;
    $content =~ s/%%TEST_GLOBALS_HTTP%%/$self->_globals_http()/gme;
    $content =~ s/%%TESTDIR%%/$self->{dir}/gm;
    $content =~ s/127\.0\.0\.1:(8\d\d\d)\b/'127.0.0.1:' . port($1)/gme;
    $content =~ s/%%PORT_(\d+)%%/port($1)/gme;

    return $content;
}

sub _globals {
    my ($self) = @_;

    my $level = $ENV{TEST_CORRAL_DEBUG} ? 'debug' : 'info';

    my $s = '';
    $s .= "load_module $MODULE;\n" if -f $MODULE;
    $s .= "user root;\n" if $> == 0;
    $s .= "pid $self->{dir}/nginx.pid;\n";
    $s .= "error_log $self->{dir}/error.log $level;\n";
    $s .= "working_directory $self->{dir};\n";
    $s .= "worker_rlimit_core 512m;\n" if $ENV{TEST_CORRAL_LEAVE};
    $s .= $ENV{TEST_CORRAL_GLOBALS} // '';

    return $s;
}

sub _globals_http {
    my ($self) = @_;

    my $s = "root $self->{dir};\n";
    $s .= "    access_log $self->{dir}/access.log;\n";

    for (qw/client_body proxy fastcgi uwsgi scgi/) {
        $s .= "    ${_}_temp_path $self->{dir}/${_}_temp;\n";
    }

    return $s . ($ENV{TEST_CORRAL_GLOBALS_HTTP} // '');
}

sub read_file {
    my ($self, $name) = @_;
    return _slurp("$self->{dir}/$name");
}

sub _slurp {
    my ($file) = @_;
    open my $fh, '<:raw', $file or return '';
    local $/;
    return scalar(<$fh>) // '';
}

# Waits until a log says it.  Returns the match or ''.

sub wait_for_log {
    my ($self, $re, $name, $timeout) = @_;
    $name //= 'error.log';
    return wait_for(sub { $self->read_file($name) =~ $re ? $& : '' }, $timeout);
}

# A state file of the gateway (docs/schema.md).  Of a service only the name is
# needed, of a rule its name, of an instance id, service and address; any other
# member may be given and "lines" appends lines as they are.
#
#   $t->state_file(revision => 2,
#       services => [ { name => 'echo' } ],
#       instances => [ { id => 'a1', service => 'echo', address => ... } ]);

sub state_file {
    my ($self, %opt) = @_;

    my $json = JSON::PP->new->canonical;
    my (@lines, %ids);

    for my $given (@{ $opt{services} // [] }) {
        my %s = (service_id => "id-$given->{name}", desired => 'running',
            %$given);
        $ids{$s{name}} = $s{service_id};
        push @lines, $json->encode({ kind => 'service', %s });
    }

    for my $given (@{ $opt{instances} // [] }) {
        my %i = (incarnation => 1, node => 'node1', weight => 100,
            state => 'running', health => 'healthy', %$given);
        $i{instance_id} //= delete $i{id};

        my $service = delete $i{service};
        $i{service_id} //= $ids{$service} // die "no service $service\n";

        push @lines, $json->encode({ kind => 'instance', %i });
    }

    for my $given (@{ $opt{rules} // [] }) {
        my %r = (rule_id => "id-$given->{name}" =~ s/[^\w.-]/-/gr, %$given);
        push @lines, $json->encode({ kind => 'rule', %r });
    }

    push @lines, @{ $opt{lines} // [] };

    my %head = (corral => 1, epoch => $opt{epoch} // 'e1',
        revision => $opt{revision} // 1, %{ $opt{head} // {} });

    return $self->write_file($opt{file} // 'gateway.state',
        join '', map { "$_\n" } $json->encode(\%head), @lines);
}


###############################################################################
# Ports.
###############################################################################

# The real port behind a virtual one.  A UDP socket of the same number holds it
# against other tests that run at the same time.

sub port {
    my $virtual = pop;

    return $ports{$virtual}[0] if $ports{$virtual};

    for (1 .. 200) {
        my $port = 10000 + int rand 20000;

        my $lock = IO::Socket::INET->new(
            Proto => 'udp', LocalAddr => "127.0.0.1:$port") or next;
        IO::Socket::INET->new(
            Proto => 'tcp', LocalAddr => "127.0.0.1:$port", Listen => 1,
            ReuseAddr => 1) or next;

        $ports{$virtual} = [ $port, $lock ];
        return $port;
    }

    die "No free port for $virtual\n";
}

# The UDP socket of a virtual port: it holds the port, so nobody else can bind
# it.  A server over UDP is to use this one.

sub udp_socket {
    my $virtual = pop;

    port($virtual);

    return $ports{$virtual}[1];
}


###############################################################################
# nginx.
###############################################################################

# nginx is a daemon here as in life: one in the foreground ignores the signals
# of an upgrade.

sub run {
    my ($self, $conf) = @_;

    my $pid = fork() // die "Can't fork: $!\n";

    if ($pid == 0) {
        chdir $self->{dir} or POSIX::_exit(1);
        open STDIN, '<', '/dev/null';
        open STDOUT, '>>', "$self->{dir}/nginx.out";
        open STDERR, '>>', "$self->{dir}/nginx.out";
        $self->_sanitizers('nginx');
        exec nginx(), '-p', "$self->{dir}/", '-c', $conf // 'nginx.conf',
            '-e', "$self->{dir}/error.log"
            or POSIX::_exit(1);
    }

    waitpid $pid, 0;

    $? == 0 && wait_for(sub { $self->_pid_file('nginx.pid') })
        or die "Can't start nginx:\n" . $self->read_file('nginx.out')
            . $self->read_file('error.log');

    $self->{master} = $self->_pid_file('nginx.pid');
    $self->{started} = 1;

    wait_for(sub { scalar $self->workers() })
        or die "nginx has no workers:\n" . $self->read_file('error.log');

    return $self;
}

sub _sanitizers {
    my ($self, $name) = @_;

    my $leaks = $name eq 'corrald' ? 1 : 0;

    $ENV{ASAN_OPTIONS} = "detect_odr_violation=0:detect_leaks=$leaks"
        . ":log_path=$self->{dir}/sanitizer.$name";
    $ENV{UBSAN_OPTIONS} = 'print_stacktrace=1'
        . ":log_path=$self->{dir}/sanitizer.$name";
}

sub _pid_file {
    my ($self, $name) = @_;
    my ($pid) = $self->read_file($name) =~ /^(\d+)/;
    return $pid;
}

# What nginx -t says of a configuration: (1 if it was accepted, its output).

sub test_config {
    my ($self, $content, $name) = @_;

    $name //= 'test.conf';
    $self->write_file_expand($name, $content);
    $self->_sanitizers('nginx');

    my $cmd = join ' ', nginx(), '-t', '-p', "$self->{dir}/", '-c', $name,
        '-e', "$self->{dir}/test.log", '2>&1';
    my $out = `$cmd`;

    $self->{started} = 1;       # it ran: the plan is not vacuous

    return ($? == 0 ? 1 : 0, $out);
}

sub master { $_[0]{master} }

# Pids of the workers that serve; with a true argument of the exiting ones.

sub workers {
    my ($self, $exiting, $master) = @_;

    my @pids;

    for my $pid (_children($master // $self->{master})) {
        my $title = _slurp("/proc/$pid/cmdline");
        next unless $title =~ /nginx: worker process/;
        next if !$exiting != ($title !~ /shutting down/);
        push @pids, $pid;
    }

    @pids = sort { $a <=> $b } @pids;
    return @pids;
}

sub _children {
    my ($parent) = @_;
    my @pids;

    for my $stat (glob '/proc/[0-9]*/stat') {
        _slurp($stat) =~ /^(\d+) \(.*\) (\S) (\d+) /s or next;
        push @pids, $1 if $3 == $parent && $2 ne 'Z';
    }

    return @pids;
}

sub alive {
    my $pid = pop;
    return _slurp("/proc/$pid/stat") =~ /^\d+ \(.*\) [^ZX] /s ? 1 : 0;
}

# Returns 1 when new workers serve and no old one takes connections.

sub reload {
    my ($self) = @_;

    my @before = $self->workers();
    my %old = map { $_ => 1 } @before;

    kill 'HUP', $self->{master};

    return wait_for(sub {
        my @now = $self->workers();
        return @now >= @before && !grep { $old{$_} } @now;
    }, 10);
}

# The new binary takes over, the old master ends when its workers have ended.
# Returns the pid of the old master.

sub upgrade {
    my ($self) = @_;

    my $old = $self->{master};

    kill 'USR2', $old;

    wait_for(sub {
        my $pid = $self->_pid_file('nginx.pid');
        return -s "$self->{dir}/nginx.pid.oldbin" && $pid && $pid != $old
            && $self->workers(0, $pid);
    }, 10) or die "No new binary:\n" . $self->read_file('error.log');

    my $new = $self->_pid_file('nginx.pid');

    kill 'WINCH', $old;
    wait_for(sub { !$self->workers(0, $old) }, 10)
        or die "Workers of the old binary go on\n";
    kill 'QUIT', $old;

    $self->{master} = $new;

    return $old;
}

sub stop {
    my ($self) = @_;

    my $pid = delete $self->{master} or return $self;

    $self->close_clients();

    if ($self->{status_uri}) {
        local $self->{master} = $pid;
        $self->{left} = $self->_counts_left();
    }

    kill 'QUIT', $pid;

    unless (wait_for(sub { !alive($pid) }, 5)) {
        push @{ $self->{stuck} }, "nginx did not stop on QUIT: "
            . join ' ', $pid, _children($pid);
        kill 'TERM', $pid;
        wait_for(sub { !alive($pid) }, 2) or kill 'KILL', $pid;
    }

    return $self;
}


###############################################################################
# Other programs.
###############################################################################

# Runs a Perl sub or a program with its arguments.  Returns the pid.

sub run_daemon {
    my ($self, $what, @args) = @_;

    my $name = ref $what ? 'daemon' : $what =~ s{.*/}{}r;
    my $pid = fork() // die "Can't fork: $!\n";

    if ($pid == 0) {
        $SIG{$_} = 'DEFAULT' for qw/TERM INT HUP CHLD PIPE/;

        if (ref $what) {
            eval { $what->($self, @args) };
            warn $@ if $@;
            POSIX::_exit($@ ? 1 : 0);
        }

        chdir $self->{dir};
        open STDIN, '<', '/dev/null';
        open STDOUT, '>>', "$self->{dir}/$name.out";
        open STDERR, '>>', "$self->{dir}/$name.out";
        $self->_sanitizers($name);
        exec $what, @args or POSIX::_exit(127);
    }

    push @{ $self->{daemons} }, [ $pid, $name ];

    return $pid;
}

sub stop_daemon {
    my ($self, $pid, $signal) = @_;

    @{ $self->{daemons} } = grep { $_->[0] != $pid } @{ $self->{daemons} };

    kill $signal // 'TERM', $pid;

    my $done = wait_for(sub { waitpid($pid, WNOHANG) != 0 }, 10);

    unless ($done) {
        push @{ $self->{stuck} }, "$pid did not stop";
        kill 'KILL', $pid;
        waitpid $pid, 0;
    }

    return $self;
}

# An agent of the test's own: see Test::Corral::Agent for the options.

sub agent {
    my ($self, %opt) = @_;
    require Test::Corral::Agent;
    return Test::Corral::Agent->new($self, %opt);
}

# A WebSocket to nginx: see Test::Corral::WebSocket for the options.

sub websocket {
    my ($self, $path, %opt) = @_;

    require Test::Corral::WebSocket;
    $opt{port} //= port(8080) unless $opt{socket};

    my $ws = Test::Corral::WebSocket->new(path => $path, %opt);
    $self->keep_client($ws);

    return $ws;
}

# Clients that are still there at the end are closed before counts are checked.

sub keep_client {
    my ($self, $client) = @_;
    push @{ $self->{clients} }, $client;
    weaken $self->{clients}[-1];
}

sub close_clients {
    my ($self) = @_;

    for (grep { defined } @{ $self->{clients} }) {
        $_->can('disconnect') ? $_->disconnect() : $_->close();
    }

    $self->{clients} = [];
}

# An empty Redis on a unix socket and a port.  Returns the path of the socket.

sub redis {
    my ($self, %opt) = @_;

    my $n = $opt{port} // 8379;
    my $socket = "$self->{dir}/redis.$n.sock";

    $self->{redis}{$n} = $self->run_daemon('redis-server',
        '--port', port($n), '--bind', '127.0.0.1', '--unixsocket', $socket,
        '--save', '', '--appendonly', 'no', '--dir', $self->{dir},
        @{ $opt{args} // [] });

    $self->waitforunix($socket) or die "No Redis:\n"
        . $self->read_file('redis-server.out');

    return $socket;
}

# One command to that Redis, by the program redis-cli.

sub redis_cli {
    my ($self, @args) = @_;

    open my $fh, '-|', 'redis-cli', '-s', "$self->{dir}/redis.8379.sock", @args
        or die "Can't run redis-cli: $!\n";
    local $/;
    my $out = <$fh> // '';
    close $fh;

    chomp $out;
    return $out;
}

# corrald with the configuration written as corrald.yaml.  Returns the pid.

sub corrald {
    my ($self, @args) = @_;
    return $self->run_daemon("$BUILD/corrald", '-c',
        "$self->{dir}/corrald.yaml", @args);
}

sub waitforsocket {
    my ($self, $address, $timeout) = @_;

    $address = "127.0.0.1:$address" unless $address =~ /:/;

    return wait_for(sub {
        IO::Socket::INET->new(PeerAddr => $address, Proto => 'tcp')
    }, $timeout) ? $self : undef;
}

sub waitforunix {
    my ($self, $path, $timeout) = @_;
    return wait_for(sub { IO::Socket::UNIX->new(Peer => $path) }, $timeout)
        ? $self : undef;
}

# Calls the sub until it returns something true, or the seconds are over.

sub wait_for {
    my ($code, $timeout) = @_;

    my $end = time() + ($timeout // 5);

    while (1) {
        my $result = $code->();
        return $result if $result;
        return '' if time() >= $end;
        sleep 0.02;
    }
}


###############################################################################
# HTTP, as little of it as tests need.
###############################################################################

# Sends bytes and returns the whole answer, up to the end of the connection.
# Options: port (virtual, 8080), socket (a unix path), timeout (5), start (1:
# returns the connection after sending), until (a pattern that ends reading).

sub http {
    my ($request, %opt) = @_;

    my $s = $opt{socket}
        ? IO::Socket::UNIX->new(Peer => $opt{socket})
        : IO::Socket::INET->new(Proto => 'tcp',
            PeerAddr => '127.0.0.1:' . port($opt{port} // 8080))
        or die "Can't connect: $!\n";

    local $SIG{PIPE} = 'IGNORE';

    $s->autoflush(1);
    print $s $request;
    _note('>>', $request);

    return $s if $opt{start};
    return http_read($s, %opt);
}

sub http_read {
    my ($s, %opt) = @_;

    my ($got, $buf) = ('');
    my $end = time() + ($opt{timeout} // 5);
    my $select = IO::Select->new($s);

    while ((my $left = $end - time()) > 0) {
        $select->can_read($left) or last;
        sysread $s, $buf, 65536 or last;
        $got .= $buf;
        last if $opt{until} && $got =~ $opt{until};
    }

    _note('<<', $got);

    return $got;
}

sub http_get {
    my ($uri, %opt) = @_;
    return http(_request('GET', $uri, '', %opt), %opt);
}

sub http_post {
    my ($uri, $body, %opt) = @_;
    return http(_request('POST', $uri, $body, %opt), %opt);
}

sub _request {
    my ($method, $uri, $body, %opt) = @_;

    my @headers = @{ $opt{headers} // [] };

    unshift @headers, 'Host: localhost' unless grep { /^host:/i } @headers;
    push @headers, 'Connection: close'
        unless grep { /^connection:/i } @headers;
    push @headers, 'Content-Length: ' . length $body
        if $method eq 'POST' && !grep { /^transfer-encoding:/i } @headers;

    return join "\r\n", "$method $uri HTTP/1.1", @headers, '', $body;
}

# The body of an answer, unchunked; decoded if it is JSON and json => 1.

sub http_body {
    my ($answer, %opt) = @_;

    my ($head, $body) = split /\r\n\r\n/, $answer, 2;

    if ($head =~ /^transfer-encoding:\s*chunked/mi) {
        my $all = '';

        while ($body =~ s/^([0-9a-f]+)[^\r\n]*\r\n//i) {
            my $n = hex $1;
            last if $n == 0;
            $all .= substr $body, 0, $n, '';
            $body =~ s/^\r\n//;
        }

        $body = $all;
    }

    return $opt{json} ? JSON::PP->new->decode($body) : $body;
}

sub _note {
    my ($mark, $text) = @_;
    return unless $ENV{TEST_CORRAL_VERBOSE};
    $text = substr($text, 0, 2000) . '...' if length $text > 2000;
    $text =~ s/([^\x20-\x7e\n])/$1 eq "\r" ? '' : sprintf '\\x%02x', ord $1/ge;
    Test::More::note("$mark $_") for split /\n/, $text;
}


###############################################################################
# What Corral says of itself.
###############################################################################

sub _status_location {
    my ($self) = @_;

    my $conf = $self->{files}{'nginx.conf'} // return;
    $conf =~ /location\s+(?:=\s*)?(\S+)\s*\{[^{}]*\bcorral_status\s*;/
        or return;
    my ($uri, $before) = ($1, $`);
    my ($real) = $before =~ /.*\blisten\s+127\.0\.0\.1:(\d+)/s or return;
    my ($virtual) = grep { $ports{$_}[0] == $real } keys %ports;

    return [ $uri, $virtual ];
}

# The document of the corral_status location.

sub status {
    my ($self) = @_;

    my ($uri, $virtual) = @{ $self->{status_uri} // $self->_status_location()
        // die "No location with corral_status\n" };
    my $answer = http_get($uri, port => $virtual);

    $answer =~ m{^HTTP/1\.\d 200 } or die "No status: $answer\n";

    return http_body($answer, json => 1);
}

# One instance of it, by its id; an empty hash if it is not there.

sub instance {
    my ($self, $id) = @_;

    for my $service (@{ $self->status()->{services} }) {
        for (@{ $service->{instances} }) {
            return $_ if $_->{instance_id} eq $id;
        }
    }

    return {};
}

# { instance id => active }, of all instances.

sub counts {
    my ($self) = @_;
    return {
        map { $_->{instance_id} => $_->{active} }
        map { @{ $_->{instances} } } @{ $self->status()->{services} }
    };
}

# Waits until the instances have these numbers; returns what they have then.

sub wait_for_counts {
    my ($self, $wanted, $timeout) = @_;

    my $now;

    wait_for(sub {
        $now = $self->counts();
        return !grep { ($now->{$_} // -1) != $wanted->{$_} } keys %$wanted;
    }, $timeout // 3);

    return { map { $_ => $now->{$_} } keys %$wanted };
}

# Waits until all workers serve from this revision or a later one.  Who answers
# a request is the kernel's choice; an idle worker is known by its log.

sub wait_for_revision {
    my ($self, $revision, $timeout) = @_;

    my %seen;

    return wait_for(sub {
        my $status = eval { $self->status() } or return;
        $seen{$status->{pid}} = $status->{revision};

        for (split /\n/, $self->read_file('error.log')) {
            $seen{$1} = $2 if / (\d+)#\d+: corral: registry .* revision (\d+)/;
        }

        return !grep { ($seen{$_} // -1) < $revision } $self->workers();
    }, $timeout);
}

# '' or what is not zero after three seconds.

sub _counts_left {
    my ($self) = @_;

    my $left;

    wait_for(sub {
        my $status = eval { $self->status() };
        $left = $status ? '' : "no status: $@";

        for my $service (@{ $status->{services} // [] }) {
            $left .= "$service->{name}: $service->{active} active, "
                . "$service->{waiting} waiting\n"
                if $service->{active} || $service->{waiting};

            for (@{ $service->{instances} }) {
                $left .= "$_->{instance_id}: $_->{active} active, "
                    . "$_->{reserved} reserved\n"
                    if $_->{active} || $_->{reserved};
            }
        }

        return $left eq '';
    }, 3);

    return $left;
}


###############################################################################
# The end: stops everything, then makes the assertions of every test.
###############################################################################

END {
    if ($$ == $owner) {
        local ($?, $@);
        $_->_finish() for @tests;
    }
}

sub _finish {
    my ($self) = @_;

    $self->stop();
    $self->stop_daemon($_->[0]) for my @all = @{ $self->{daemons} };

    $self->_check() if $self->{planned};

    if ($ENV{TEST_CORRAL_CATLOG}) {
        Test::More::diag($self->read_file('error.log'));
    }

    if ($ENV{TEST_CORRAL_LEAVE}) {
        Test::More::diag("left: $self->{dir}");

    } else {
        remove_tree($self->{dir});
    }
}

sub _check {
    my ($self) = @_;

    Test::More::ok($self->{started}, 'nginx started');

    my @alerts;

    for my $line (split /\n/, $self->read_file('error.log')) {
        next unless $line =~ /\[(alert|emerg|crit)\]/;
        my ($expected) = grep { $line =~ $_->[0] } @{ $self->{expected} };
        if ($expected) { $expected->[1]++ } else { push @alerts, $line }
    }

    push @alerts, map { "expected, but not there: $_->[0]" }
        grep { !$_->[1] } @{ $self->{expected} };

    Test::More::is(join("\n", @alerts), '', 'no alerts');

    my $reports = join '', map { _slurp($_) } glob "$self->{dir}/sanitizer*";

    for my $file (glob "$self->{dir}/*.log $self->{dir}/*.out") {
        $reports .= $& if _slurp($file) =~ /^.*(?:Sanitizer: |runtime\ error:
            |lockcheck: ).*(?:\n.*){0,20}/mx;
    }

    Test::More::is($reports, '', 'no sanitizer or lock errors');

    my @left = $self->_processes_left();
    Test::More::is(join("\n", @{ $self->{stuck} // [] }, @left), '',
        'no process left');

    Test::More::is(join(' ', glob "$self->{dir}/core*"), '', 'no core');

    if ($self->{status_uri}) {
        Test::More::is($self->{left} // 'nginx was not asked', '',
            'all counts back to zero');
    }
}

# Processes whose working directory lies in the test's.  They are ended.

sub _processes_left {
    my ($self) = @_;

    my $find = sub {
        my @found;
        for my $link (glob '/proc/[0-9]*/cwd') {
            my $cwd = readlink $link // next;
            next unless $cwd =~ m{^\Q$self->{dir}\E(/|$)};
            my ($pid) = $link =~ /(\d+)/;
            next unless $pid != $$ && alive($pid);
            push @found, "$pid "
                . _slurp("/proc/$pid/cmdline") =~ s/\0+/ /gr;
        }
        return @found;
    };

    my @left;
    wait_for(sub { @left = $find->(); !@left }, 2);

    kill 'KILL', map { /^(\d+)/ } @left if @left;

    return @left;
}

###############################################################################

1;
