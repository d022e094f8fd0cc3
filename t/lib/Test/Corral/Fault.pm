package Test::Corral::Fault;

# One row of the fault matrix.  The clients are t/fault/checker.py, which knows
# nothing of Corral and decides what was lost, doubled or reordered; behind them
# stands the whole of Corral (Test::Corral::Stack) with the demo echo agent,
# which answers late.  A file t/fault_*.t does these steps:
#
#   my $f = Test::Corral::Fault->new();     # or skips
#   $f->plan(n);                            # with what the steps assert
#   $f->begin();        2  clients, exact counts from two sources
#   $f->strike(sub);    3  messages under way, the fault, new clients meanwhile
#   $f->told(code);     2  the affected got the documented end, in time
#   $f->unharmed();     1  the others live on and have all their answers, once
#   $f->lives(name);    1  counts equal what lives
#   $f->finish();       5  zero, and nothing left
#
# A client is "affected" when the fault takes its connection: affect() says
# which, by what the list of connections knows of it.

use warnings;
use strict;

use IPC::Open2;
use JSON::PP;
use List::Util qw/sum0/;
use Test::More qw//;
use Time::HiRes qw/time/;

use Test::Corral;
use Test::Corral::Stack;

our $CLIENTS = 24;              # connected from the beginning
our $BURST = 6;                 # messages of each when the fault comes
our $DELAY = 500;               # ms until the agent answers a message
our $SERVED = 20;               # new clients during the fault
our $UNANSWERED = 50;           # messages, at the least

my $CHECKER = "$Test::Corral::ROOT/t/fault/checker.py";

# With a harness as its argument it is the checker alone.

sub new {
    my ($class, $harness) = @_;

    my $t = $harness // Test::Corral->new()
        ->has(qw/corral corrald corral_websocket redis-server/);

    system('/usr/bin/python3 -c "import websockets" 2>/dev/null') == 0
        or $t->has('python3-websockets');

    my $self = bless { t => $t, affected => [] }, $class;

    unless ($harness) {
        $self->{s} = Test::Corral::Stack->new($t);
        $self->{d} = $self->{s}->d();
    }

    return $self;
}

sub t { $_[0]{t} }
sub s { $_[0]{s} }
sub d { $_[0]{d} }

# The number of assertions, those of finish() and of corrald's end not counted.

sub plan { $_[0]{t}->plan($_[1] + 2 + 3) }


###############################################################################
# The checker.
###############################################################################

sub _checker {
    my ($self) = @_;

    $self->{pid} = open2($self->{from}, $self->{to}, $CHECKER);
    $self->{to}->autoflush(1);

    return @$self{qw/to from/};
}

# One command; returns its answer.

sub check {
    my ($self, $do, %args) = @_;

    local $SIG{PIPE} = 'IGNORE';
    my ($to, $from) = $self->{pid} ? @$self{qw/to from/} : $self->_checker();

    print $to encode_json({ do => $do, %args }), "\n";
    my $line = <$from> // die "checker: no answer to $do\n";
    my $answer = decode_json($line);

    die "checker: $do: $answer->{error}\n" if exists $answer->{error};

    return $answer;
}

sub url {
    my ($self, $query) = @_;
    return 'ws://127.0.0.1:' . port(8080) . '/agents/echo/' . ($query // '');
}

# n more clients that stay; their agent answers late.

sub connect {
    my ($self, $n) = @_;

    my $ids = $self->check('connect', url => $self->url("?delay=$DELAY"),
        n => $n)->{ids};
    push @{ $self->{clients} }, @$ids;

    return @$ids;
}

# New clients: how many were served; how long the slowest took is kept.

sub serve {
    my ($self, $n) = @_;

    my $r = $self->check('serve', url => $self->url(), n => $n // $SERVED);

    Test::More::diag("$_ ($r->{errors}{$_} times)") for keys %{ $r->{errors} };
    Test::More::note(sprintf 'slowest new client: %.0f ms',
        1000 * $r->{slowest});

    $self->{slowest} = $r->{slowest};
    return $r->{served};
}

# See Test::Corral::Daemon.

sub redis_cli {
    my ($self, @args) = @_;
    return $self->{d}->redis_cli(@args);
}


###############################################################################
# Counts.
###############################################################################

# What the list of connections says of each client: by its id, its row.

sub rows {
    my ($self) = @_;

    my $ports = $self->check('ports')->{ports};
    my %by_port = map { $_->{client_port} => $_ }
        @{ $self->{d}->api('GET', '/connections?limit=1000')->{items} // [] };

    return map { $_ => $by_port{ $ports->{$_} } // {} } keys %$ports;
}

# Clients that live are those that are listed, each on the instance that counts
# it: the list of connections, by their ports, and the gateway's status agree
# with what the checker holds.  Returns '' or what differs.

sub differs {
    my ($self) = @_;

    my %rows = $self->rows();
    my @unlisted = grep { !$rows{$_}{instance_id} } keys %rows;
    my $listed = $self->{s}->listed('echo');
    my $counted = $self->{s}->counted('echo');

    my $n = sum0(values %$listed);

    return sprintf '%d clients live, not listed: %s', scalar keys %rows,
        join ' ', sort @unlisted if @unlisted;
    return sprintf '%d clients live, %d are listed', scalar keys %rows, $n
        if $n != keys %rows;

    return join '', map {
        my ($l, $c) = ($listed->{$_} // 0, $counted->{$_} // 0);
        $l == $c ? () : "$_: $l listed, $c counted\n";
    } sort keys %{ { %$listed, %$counted } };
}

sub lives {
    my ($self, $name, $timeout) = @_;

    my $differs;
    wait_for(sub { ($differs = $self->differs()) eq '' }, $timeout // 10);
    Test::More::is($differs, '', "counts equal what lives: $name");
}


###############################################################################
# The steps.
###############################################################################

sub begin {
    my ($self, %opt) = @_;

    my $workers = delete $opt{workers} // 2;
    my $instances = delete $opt{instances} // 2;

    $self->{s}->start($workers);
    $self->{instances} = [ $self->{s}->echo('echo', $instances,
        restart_delay => '100ms', balance => 'round_robin', %opt) ];

    $self->connect($CLIENTS);

    my %wanted = map { $_->{instance_id} => $CLIENTS / $instances }
        @{ $self->{instances} };
    my ($counted, $differs);

    wait_for(sub {
        ($counted, $differs) = ($self->{s}->counted('echo'), $self->differs());
        $differs eq '' && !grep { $counted->{$_} != $wanted{$_} } keys %wanted;
    }, 15);

    Test::More::is_deeply($counted, \%wanted, "before: $CLIENTS clients, "
        . join(' ', values %wanted) . ' on the instances');
    Test::More::is($differs, '', 'before: list and status agree');
}

sub instances { @{ $_[0]{instances} } }

# Says which clients the fault takes: those whose row of the list it is true of.

sub affect {
    my ($self, $sub) = @_;

    my %rows = $self->rows();
    $self->{affected} = [ grep { $sub->($rows{$_}) } keys %rows ];

    return scalar @{ $self->{affected} };
}

sub affected { @{ $_[0]{affected} } }

sub others {
    my ($self) = @_;

    my %affected = map { $_ => 1 } $self->affected();
    return grep { !$affected{$_} } @{ $self->{clients} };
}

# The fault, while messages are under way on all connections.  They were all
# sent before it, so what has no answer just after it had none when it came.
# Then the others go on sending, and new clients come.

sub strike {
    my ($self, $fault) = @_;

    my %groups = (affected => [ $self->affected() ],
        unaffected => [ $self->others() ]);

    delete $groups{affected} unless @{ $groups{affected} };

    $self->check('say', n => $BURST);
    $self->{struck} = time();
    $fault->();

    my %due = map { $_ => $self->check('unanswered', ids =>
        [ map { $_ + 0 } @{ $groups{$_} } ])->{count} } keys %groups;

    $self->pump();

    Test::More::cmp_ok(sum0(values %due), '>=', $UNANSWERED,
        "unanswered when it comes: " . sum0(values %due));
    Test::More::is(scalar(grep { $due{$_} == 0 } keys %due), 0,
        join(', ', map { scalar(@{ $groups{$_} }) . " $_ connections with "
            . "$due{$_} of them" } sort keys %groups));
    Test::More::is($self->serve(), $SERVED, 'new clients during it');
}

# The unaffected send, each of them a message in the time of an answer.

sub pump {
    my ($self) = @_;
    $self->check('pump', every => 1.2 * $DELAY / 1000,
        ids => [ map { $_ + 0 } $self->others() ]);
}

sub told {
    my ($self, $codes, $seconds) = @_;

    my @ids = map { $_ + 0 } $self->affected();
    my $r = $self->check('ended', ids => \@ids, timeout => $seconds + 5);
    my $took = $r->{last} - $self->{struck};

    my %other = %{ $r->{codes} };
    delete @other{@$codes};

    Test::More::ok(@ids && !$r->{open} && !%other, 'the affected end with '
        . join(' or ', @$codes))
        or Test::More::diag(Test::More::explain($r));
    Test::More::cmp_ok($took, '<', $seconds,
        sprintf 'in time: the last after %.2f s', $took);
}

sub unharmed {
    my ($self, $name) = @_;

    my @ids = map { $_ + 0 } $self->others();

    $self->check('rest');
    my $r = $self->check('judge', ids => \@ids, timeout => 20);

    Test::More::is(join("\n", @{ $r->{verdicts} }), '', sprintf
        '%d others live on, %d messages: none lost, doubled or reordered%s',
        scalar @ids, $r->{messages}, $name ? ": $name" : '');
}

# Waits until all instances are well and this one, which died, is in its next
# incarnation; returns them by id.

sub recovered {
    my ($self, $victim, $timeout) = @_;

    my @i = $self->{d}->wait_instances('echo', sub {
        my %at = map { $_->{instance_id} => $_->{incarnation} } grep {
            $_->{state} eq 'running' && $_->{health} eq 'healthy' } @_;

        keys %at == $self->instances()
            && $at{ $victim->{instance_id} } > $victim->{incarnation};
    }, $timeout // 20);

    return map { $_->{instance_id} => $_ } @i;
}

# All clients leave: nothing is counted, nothing listed.

sub finish {
    my ($self) = @_;

    $self->check('close');

    my ($counted, $listed);

    wait_for(sub { $counted = sum0(values %{ $self->{s}->counted('echo') });
        $counted == 0 }, 10);
    wait_for(sub { $listed = sum0(values %{ $self->{s}->listed('echo') });
        $listed == 0 }, 10);

    Test::More::is($counted, 0, 'in the end: none is counted');
    Test::More::is($listed, 0, 'in the end: none is listed');

    $self->_leave();
    $self->{s}->finish();
}

sub _leave {
    my ($self) = @_;

    my $pid = delete $self->{pid} or return;

    close $self->{to};
    close $self->{from};
    waitpid $pid, 0;
}

sub DESTROY {
    my ($self) = @_;

    local ($?, $@);
    $self->_leave();
}


1;
