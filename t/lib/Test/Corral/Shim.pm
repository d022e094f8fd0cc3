package Test::Corral::Shim;

# Runs corral-shim without corrald: builds the description, starts it, speaks
# its socket.  In the end everything that it started must be gone: finish()
# checks that, and ends by pid what is left.

use warnings;
use strict;

use Exporter qw/import/;
use File::Path qw/remove_tree/;
use File::Temp qw/tempdir/;
use IO::Select;
use POSIX qw/:sys_wait_h/;
use Socket;
use Test::More qw//;
use Time::HiRes qw/sleep time/;

our @EXPORT = qw/wait_for alive slurp descendants/;

my $root = $ENV{CORRAL_ROOT} // '..';
my $build = $ENV{CORRAL_BUILD} // "$root/build/" . ($ENV{KIND} // 'release');

our $SHIM = "$build/corral-shim";

my $count = 0;


sub new {
    my ($class, %spec) = @_;

    Test::More::plan(skip_all => 'corral-shim is missing') unless -x $SHIM;

    my $dir = delete $spec{dir} // tempdir('shim-XXXXXXXX', TMPDIR => 1);
    chmod 0755, $dir;

    my $id = 'echo.' . $count++;

    return bless {
        dir => $dir,
        owner => $$,
        id => $id,
        pids => {},
        spec => {
            instance => $id, cluster => 'test', node => 'n1',
            incarnation => 1, nonce => "nonce-$id-$$",
            cwd => '/', socket => "$dir/$id.sock", lock => "$dir/$id.lock",
            exit => "$dir/$id.exit", log => "$dir/$id.log",
            log_max => 1048576, log_files => 3, stop_timeout => 2000,
            grace => 300, %spec,
        },
    }, $class;
}

# The description of a command: "key=value", each with a NUL.

sub description {
    my ($self, $command, %more) = @_;

    my %spec = (%{ $self->{spec} }, %more);
    my $env = delete $spec{env} // { PATH => $ENV{PATH} };
    my $rlimits = delete $spec{rlimit} // [];

    my @pairs = ('corral=1');
    push @pairs, map { "$_=$spec{$_}" } grep { defined $spec{$_} } sort
        keys %spec;
    push @pairs, map { "arg=$_" } @$command;
    push @pairs, map { "env=$_=$env->{$_}" } sort keys %$env;
    push @pairs, map { "rlimit=$_" } @$rlimits;
    push @pairs, 'end=1';

    return join '', map { "$_\0" } @pairs;
}

# Starts it.  Returns the exit code; the sentence is in $self->{error}.

sub start {
    my ($self, $command, %more) = @_;
    return $self->start_raw($self->description($command, %more));
}

sub start_raw {
    my ($self, $description) = @_;

    pipe my $in, my $to or die "pipe: $!\n";
    pipe my $from, my $out or die "pipe: $!\n";

    my $pid = fork() // die "fork: $!\n";

    if ($pid == 0) {
        open STDIN, '<&', $in;
        open STDERR, '>&', $out;
        open STDOUT, '>&', $out;
        close $_ for $to, $from;
        exec $SHIM, $self->{id} or POSIX::_exit(99);
    }

    close $_ for $in, $out;
    local $SIG{PIPE} = 'IGNORE';
    print $to $description;
    close $to;

    local $/;
    $self->{error} = <$from> // '';
    waitpid $pid, 0;

    my $code = $? >> 8;

    if ($code == 0 && -S $self->{spec}{socket}) {
        my $hello = $self->connect()->message();
        $self->{hello} = $hello;
        $self->{pids}{$_} = 1 for @$hello{qw/pid shim_pid/},
            _ppid($hello->{shim_pid});
    }

    return $code;
}

sub pid { $_[0]{hello}{pid} }
sub shim_pid { $_[0]{hello}{shim_pid} }
sub guard_pid { _ppid($_[0]{hello}{shim_pid}) }

sub _ppid {
    my ($pid) = @_;
    return slurp("/proc/$pid/stat") =~ /\) \S (\d+)/ ? $1 : 0;
}


# The socket.

sub connect {
    my ($self) = @_;

    socket my $s, AF_UNIX, SOCK_SEQPACKET, 0 or die "socket: $!\n";

    wait_for(sub {
        CORE::connect($s, pack_sockaddr_un($self->{spec}{socket}))
    }, 5) or die "connect: $!\n";

    $self->{socket} = $s;

    return $self;
}

sub disconnect { delete $_[0]{socket} }

sub send_raw {
    my ($self, $bytes) = @_;
    return CORE::send $self->{socket}, $bytes, Socket::MSG_NOSIGNAL;
}

sub say {
    my ($self, $type, %more) = @_;
    return $self->send_raw(join '', map { "$_\0" } 'corral=1', "type=$type",
        map { "$_=$more{$_}" } sort keys %more);
}

# The next message as a hash, undef when the shim closed or said nothing.

sub message {
    my ($self, $timeout) = @_;

    IO::Select->new($self->{socket})->can_read($timeout // 5) or return;

    my $buf = '';
    defined recv $self->{socket}, $buf, 8192, 0 or return;
    length $buf or return;

    return { map { split /=/, $_, 2 } split /\0/, $buf };
}

# Messages until one of this type.

sub wait_message {
    my ($self, $type, $timeout) = @_;

    my $end = time() + ($timeout // 5);

    while (time() < $end) {
        my $m = $self->message($end - time()) // return;
        return $m if $m->{type} eq $type;
    }

    return;
}

sub record {
    my ($self) = @_;
    my $text = slurp($self->{spec}{exit});
    return unless length $text;
    return { map { split /=/, $_, 2 } split /\n/, $text };
}

sub log_file { $_[0]{spec}{log} }
sub log { slurp($_[0]{spec}{log}) }
sub dir { $_[0]{dir} }


# Stops the agent, if it lives, and checks that nothing is left.

sub finish {
    my ($self, $name) = @_;

    if ($self->{hello} && alive($self->shim_pid)) {
        eval { $self->connect()->say('kill'); $self->wait_message('gone', 5) };
        eval { $self->say('ack') };
    }

    $self->disconnect();

    my @left = grep { !wait_for(sub { !alive($_[0]) }, 5, $_) }
        keys %{ $self->{pids} };

    Test::More::ok(!@left, $name // 'no process left')
        or Test::More::diag("left: @left");

    kill 'KILL', @left if @left;
}

sub DESTROY {
    my ($self) = @_;
    return if $$ != $self->{owner};
    kill 'KILL', grep { alive($_) } keys %{ $self->{pids} };
    remove_tree($self->{dir}) unless $ENV{TEST_CORRAL_LEAVE};
}


# Functions.

sub wait_for {
    my ($sub, $timeout, @args) = @_;

    my $end = time() + ($timeout // 10);

    for ( ;; ) {
        my $result = $sub->(@args);
        return $result if $result;
        return if time() > $end;
        sleep 0.01;
    }
}

# A process that is there and no zombie.

sub alive {
    my ($pid) = @_;
    return 0 unless $pid;
    return slurp("/proc/$pid/stat") =~ /\) [^ZX]/ ? 1 : 0;
}

# Pids whose command line holds a word that only this test uses.

sub descendants {
    my ($word) = @_;

    my @pids;

    for my $dir (glob '/proc/[0-9]*') {
        my ($pid) = $dir =~ /(\d+)/;
        next if $pid == $$;
        push @pids, $pid
            if alive($pid) && index(slurp("$dir/cmdline"), $word) >= 0;
    }

    return @pids;
}

sub slurp {
    my ($file) = @_;
    no warnings;
    open my $fh, '<:raw', $file or return '';
    local $/;
    return scalar(<$fh>) // '';
}


1;
