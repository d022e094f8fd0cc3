package Test::Corral::Store;

# Plays corrald towards Redis: commits documents as docs/schema.md says, sends
# commands, and reads what workers publish.  It shares no code with Corral.
# fake() is a Redis of its own that says what a test wants.

use warnings;
use strict;

use IO::Socket::INET;
use IO::Socket::UNIX;
use JSON::PP;
use Time::HiRes qw/sleep time/;

my $json = JSON::PP->new->canonical;

my $COMMIT = <<'EOL';
local revision = redis.call('INCR', KEYS[1])
for i = 1, #ARGV, 3 do
    local hash = ({ service = KEYS[2], instance = KEYS[3],
        rule = KEYS[5] })[ARGV[i]]
    if ARGV[i + 2] == '' then
        redis.call('HDEL', hash, ARGV[i + 1])
    else
        redis.call('HSET', hash, ARGV[i + 1], ARGV[i + 2])
    end
    redis.call('XADD', KEYS[4], 'MAXLEN', '~', '10000', '*', 'kind', ARGV[i],
        'id', ARGV[i + 1], 'revision', revision)
end
return revision
EOL


###############################################################################
# Redis' protocol.
###############################################################################

# The path of a unix socket, or a port.  Options: cluster (default).

sub new {
    my ($class, $where, %opt) = @_;

    my $self = bless {
        where => $where,
        prefix => 'corral:' . ($opt{cluster} // 'default') . ':',
        seen => {},     # worker id => revision it has acknowledged
        acks => '0-0',
    }, $class;

    return $self->connect();
}

sub connect {
    my ($self) = @_;

    $self->{socket} = $self->{where} =~ m{^/}
        ? IO::Socket::UNIX->new(Peer => $self->{where})
        : IO::Socket::INET->new("127.0.0.1:$self->{where}");
    $self->{socket} or die "No Redis at $self->{where}: $!\n";

    return $self;
}

sub encode { join '', '*' . @_ . "\r\n", map { '$' . length($_) . "\r\n$_\r\n" } @_ }

sub command { my $self = shift; $self->pipeline([ @_ ]) }

# Returns the answer to the last one.

sub pipeline {
    my ($self, @commands) = @_;
    my $answer;

    while (my @part = splice @commands, 0, 500) {
        $self->{socket}->print(map { encode(@$_) } @part);
        $self->{socket}->flush();
        $answer = $self->answer() for @part;
    }

    return $answer;
}

sub answer {
    my ($self) = @_;

    my $line = $self->{socket}->getline() // die "Redis is gone\n";
    my ($type, $value) = $line =~ /^(.)(.*)\r\n/;

    die "Redis: $value\n" if $type eq '-';
    return $value if $type eq '+' || $type eq ':';
    return if $value < 0;
    return [ map { $self->answer() } 1 .. $value ] if $type eq '*';

    read $self->{socket}, my $text, $value + 2;
    return substr $text, 0, $value;
}

sub key { my ($self, @part) = @_; return $self->{prefix} . join ':', @part }


###############################################################################
# What corrald does.
###############################################################################

sub epoch { $_[0]->command('SET', $_[0]->key('epoch'), $_[1]) }

# Documents: whole ones from service() and instance(), or [ kind, id ] of one
# that is to go.  Returns the revision.

sub commit {
    my ($self, @documents) = @_;

    return $self->command('EVAL', $COMMIT, 5,
        map({ $self->key($_) } qw/revision services instances changes rules/),
        map({ (@$_[0, 1], $_->[2] ? $json->encode($_->[2]) : '') }
            @documents));
}

sub service {
    my ($self, $name, %members) = @_;

    return [ 'service', "id-$name", { service_id => "id-$name", name => $name,
        desired => 'running', description => 'd' x 100, %members } ];
}

sub instance {
    my ($self, $service, $id, $address, %members) = @_;

    return [ 'instance', $id, { instance_id => $id,
        service_id => "id-$service", node => 'test', address => $address,
        state => 'running', health => 'healthy', managed => JSON::PP::false,
        message => 'm' x 100, %members } ];
}

sub rule {
    my ($self, $name, %members) = @_;

    return [ 'rule', "id-$name", { rule_id => "id-$name", name => $name,
        description => 'd' x 100, %members } ];
}

# Waits until n workers have acknowledged the revision; milliseconds, or undef.

sub wait_acks {
    my ($self, $n, $revision, $timeout) = @_;

    my $start = time();
    my $end = $start + ($timeout // 10);

    while (1) {
        my @done = grep { $_ >= $revision } values %{ $self->{seen} };
        return 1000 * (time() - $start) if @done >= $n;
        return if time() >= $end;

        my $got = $self->command('XREAD', 'BLOCK', 500, 'STREAMS',
            $self->key('acks'), $self->{acks}) or next;

        for (@{ $got->[0][1] }) {
            my %ack = @{ $_->[1] };
            $self->{acks} = $_->[0];
            $self->{seen}{ $ack{worker} } = $ack{revision};
        }
    }
}

sub forget { $_[0]{seen} = {}; $_[0] }

# Sends a command to all workers and waits for n answers.  A sub in front of its
# fields is called between the two.

sub order {
    my ($self, $n, @fields) = @_;

    my $between = ref $fields[0] ? shift @fields : sub {};
    my $id = 'c' . ++$self->{orders} . '-' . $$;

    $self->command('XADD', $self->key('commands'), '*', id => $id, @fields);
    $between->();

    my @answers;

    while (@answers < $n) {
        my $got = $self->command('BLPOP', $self->key('answers', $id), 5)
            or last;
        push @answers, $json->decode($got->[1]);
    }

    return @answers;
}

# { worker id => its lease }

sub workers {
    my ($self) = @_;

    my %workers;

    for (@{ $self->command('SMEMBERS', $self->key('workers')) }) {
        my %lease = @{ $self->command('HGETALL', $self->key('worker', $_)) };
        $workers{$_} = \%lease if %lease;
    }

    return \%workers;
}

# All connections that workers publish.

sub connections {
    my ($self) = @_;

    return map { $json->decode($_) }
        map { @{ $self->command('HVALS', $self->key('connections', $_)) } }
        @{ $self->command('SMEMBERS', $self->key('workers')) };
}


###############################################################################
# A Redis that says what the test wants.
###############################################################################

# For run_daemon(\&fake, port, sub).  Calls the sub with the number of the
# connection, from 0, and the words of each command.  What it returns is sent as
# it is; undef ends the connection; a reference to bytes is sent before its end.

sub fake {
    my (undef, $port, $code) = @_;

    my $server = IO::Socket::INET->new(LocalAddr => '127.0.0.1',
        LocalPort => $port, Listen => 16, ReuseAddr => 1) or die "No port: $!";

    $SIG{CHLD} = 'IGNORE';
    $SIG{PIPE} = 'IGNORE';

    for (my $n = 0; ; $n++) {
        my $client = $server->accept();
        next if !$client || fork();
        close $server;

        my $self = bless { socket => $client }, __PACKAGE__;

        while (my $words = eval { $self->answer() }) {
            my $answer = $code->($n, @$words) // last;
            print $client ref $answer ? $$answer : $answer;
            $client->flush();
            last if ref $answer;
        }

        exit 0;
    }
}

# What an empty Redis answers.  Kept per process, which is one connection.

my $multi;

sub empty {
    my ($word) = @_;

    if ($multi && $word ne 'EXEC') {
        $multi++;
        return "+QUEUED\r\n";
    }

    return "+OK\r\n" if $word =~ /^(AUTH|SELECT|CLIENT)$/;
    return "\$17\r\ncluster_enabled:0\r\n" if $word eq 'INFO';
    return "\$-1\r\n" if $word eq 'GET';
    return "*0\r\n" if $word eq 'XREVRANGE';

    if ($word eq 'MULTI') {
        $multi = 1;
        return "+OK\r\n";
    }

    if ($word eq 'EXEC') {
        $multi = 0;
        return "*3\r\n\$-1\r\n\$-1\r\n*0\r\n";
    }

    if ($word eq 'XREAD') {
        sleep 0.1;
        return "*-1\r\n";
    }

    return ":1\r\n";
}

###############################################################################

1;

###############################################################################
