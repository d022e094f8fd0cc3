package Test::Corral::Rest;

# A corrald whose API is looked at closely: requests byte by byte, many at once,
# streams.  Everything else is Test::Corral::Daemon's.

use warnings;
use strict;

use parent 'Test::Corral::Daemon';

use IO::Select;
use IO::Socket::INET;
use IO::Socket::UNIX;
use JSON::PP;
use Time::HiRes qw/time/;

use Test::Corral::Shim qw/slurp/;
use Test::Corral::Store;

my $json = JSON::PP->new->utf8->canonical;


# A request as text.  A header that is undef is left out.

sub request {
    my ($self, $method, $path, $body, %headers) = @_;

    $body = $json->encode($body) if ref $body;

    my %h = (Host => "127.0.0.1:$self->{port}", Connection => 'close',
        Authorization => "Bearer " . ($self->{token} // ''),
        defined $body ? ('Content-Type' => 'application/json',
            'Content-Length' => length $body) : (), %headers);

    return "$method $path HTTP/1.1\r\n"
        . join('', map { "$_: $h{$_}\r\n" } grep { defined $h{$_} } sort keys %h)
        . "\r\n" . ($body // '');
}

sub connect {
    my ($self) = @_;

    return IO::Socket::INET->new(PeerAddr => "127.0.0.1:$self->{port}")
        // die "cannot connect to corrald: $!\n";
}

# Reads to the end of the connection, or what came within the time.

sub rest_of {
    my ($self, $socket, $timeout) = @_;

    my ($text, $end) = ('', time() + ($timeout // 20));
    my $select = IO::Select->new($socket);

    while ((my $left = $end - time()) > 0) {
        next unless $select->can_read($left);
        last unless sysread $socket, $text, 65536, length $text;
    }

    return $text;
}

# { status, headers (lower case), body, json }

sub parse {
    my ($self, $text) = @_;

    my ($head, $body) = split /\r\n\r\n/, $text, 2;
    my ($line, @headers) = split /\r\n/, $head // '';
    my %r = (status => 0, headers => {}, body => $body // '');

    ($r{status}) = $line =~ /^HTTP\/1\.1 (\d+)/ if $line;
    for (@headers) { $r{headers}{ lc $1 } = $2 if /^([^:]+):\s*(.*)/ }

    if (($r{headers}{'transfer-encoding'} // '') eq 'chunked') {
        my ($in, $out) = ($r{body}, '');
        $out .= substr $in, 0, hex($1), ''
            while $in =~ s/^(?:\r\n)?([0-9a-f]+)\r\n//i && hex $1;
        $r{body} = $out;
    }

    $r{json} = eval { $json->decode($r{body}) };

    return \%r;
}

sub raw {
    my ($self, $text, $timeout) = @_;

    my $socket = $self->connect();

    local $SIG{PIPE} = 'IGNORE';
    print $socket $text;

    return $self->parse($self->rest_of($socket, $timeout));
}

sub call { my $self = shift; $self->raw($self->request(@_)) }

# All requests are written before the first answer is read.

sub at_once {
    my ($self, @requests) = @_;

    my @sockets = map { $self->connect() } @requests;

    $sockets[$_]->syswrite($self->request(@{ $requests[$_] }))
        for 0 .. $#requests;

    return map { $self->parse($self->rest_of($_)) } @sockets;
}

sub admin {
    my ($self, @request) = @_;

    my $socket = IO::Socket::UNIX->new(Peer => "$self->{dir}/r/admin.sock")
        or return { status => 0 };
    print $socket $self->request(@request);

    return $self->parse($self->rest_of($socket));
}

# A stream of events: a socket that was asked, and what comes on it until the
# regex matches or the time is over.

sub stream {
    my ($self, $path, %headers) = @_;

    my $socket = $self->connect();
    print $socket $self->request('GET', $path, undef,
        Accept => 'text/event-stream', Connection => 'keep-alive', %headers);

    return $socket;
}

sub until {
    my ($self, $socket, $regex, $timeout) = @_;

    my ($text, $end) = ('', time() + ($timeout // 10));
    my $select = IO::Select->new($socket);

    while ($text !~ $regex && (my $left = $end - time()) > 0) {
        next unless $select->can_read($left);
        last unless sysread $socket, $text, 65536, length $text;
    }

    return $text;
}

# Redis, as a gateway sees it; with the name of a user, as that user.

sub redis {
    my ($self, $user) = @_;

    my $redis = Test::Corral::Store->new("$self->{dir}/r/redis.sock",
        cluster => 'test');

    if ($user) {
        $redis->command('AUTH', $user,
            slurp("$self->{dir}/s/redis.$user.password"));
    }

    return $redis;
}

sub redis_pid {
    my ($self) = @_;

    my ($pid) = slurp("$self->{dir}/s/redis/redis.pid") =~ /(\d+)/;

    # the lock of the base class is for the first one only

    return $self->{redis_pid} = $pid;
}


1;
